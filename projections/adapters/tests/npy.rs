//! Headers of `.npy` arrays: what is read, what is refused, and NumPy's own bytes.

use forge_adapters::npy::{Dtype, Header, NpyFault};

fn file(version: u8, text: &str, data: usize) -> Vec<u8> {
    let mut bytes = [&b"\x93NUMPY"[..], &[version, 0]].concat();
    match version {
        1 => bytes.extend((text.len() as u16).to_le_bytes()),
        _ => bytes.extend((text.len() as u32).to_le_bytes()),
    }
    bytes.extend(text.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn fault(text: &str, data: usize) -> &'static str {
    Header::of_slice(&file(1, text, data)).expect_err("the file is bad").code()
}

#[test]
fn what_is_written_is_read() {
    for shape in [&[][..], &[0], &[7], &[3, 4], &[2, 0, 5], &[123_456, 789]] {
        for dtype in [Dtype::F32, Dtype::F64] {
            let header = Header::c_order(dtype, shape);
            let mut bytes = header.encode();
            assert_eq!((bytes.len() % 64, bytes.len() as u64), (0, header.data_start));
            bytes.resize(header.file_bytes().min(1 << 20) as usize, 0);
            if bytes.len() as u64 == header.file_bytes() {
                assert_eq!(Header::of_slice(&bytes), Ok(header));
            }
        }
    }
}

/// `numpy.save` of NumPy 2.4: the text without its padding, and the whole length.
#[test]
fn the_header_is_numpys_byte_for_byte() {
    for (shape, text, length) in [
        (&[][..], "{'descr': '<f8', 'fortran_order': False, 'shape': (), }", 128),
        (&[3], "{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }", 128),
        (&[3, 4], "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }", 128),
        (&[2, 3, 4], "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3, 4), }", 128),
    ] {
        let bytes = Header::c_order(Dtype::F64, shape).encode();
        assert_eq!(bytes.len(), length);
        assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
        assert_eq!(core::str::from_utf8(&bytes[10..]).map(str::trim_end), Ok(text));
        assert!(bytes[10 + text.len()..length - 1].iter().all(|b| *b == b' ') && bytes[length - 1] == b'\n');
    }
    // 10 + 98 + 20 + 1 is past 128: the room to grow takes another unit.
    assert_eq!(Header::c_order(Dtype::F64, &[1; 15]).encode().len(), 192);
}

#[test]
fn versions_orders_and_quotes_are_read() {
    let text = r#"{"shape": (2,3,), 'fortran_order':True,"descr":'<f4'}   "#;
    for version in [1, 2, 3] {
        let header = Header::of_slice(&file(version, text, 24)).expect("a good header");
        assert_eq!((header.dtype, &*header.shape, header.fortran), (Dtype::F32, &[2, 3][..], true));
        assert_eq!(header.data_start, if version == 1 { 10 } else { 12 } + text.len() as u64);
    }
}

#[test]
fn each_bad_file_has_its_code() {
    let with = |descr: &str, shape: &str| format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n");
    assert_eq!(fault(&with("'>f8'", "(1,)"), 8), "npy-big-endian");
    assert_eq!(fault(&with("'|O'", "(1,)"), 8), "npy-object");
    assert_eq!(fault(&with("[('a', '<f8')]", "(1,)"), 8), "npy-structured");
    assert_eq!(fault(&with("'|V8'", "(1,)"), 8), "npy-structured");
    assert_eq!(fault(&with("'|u1'", "(1,)"), 1), "npy-dtype");
    assert_eq!(fault(&with("'<i8'", "(1,)"), 8), "npy-dtype");
    assert_eq!(fault(&with("'<f8'", "(2,)"), 8), "npy-length");
    assert_eq!(fault(&with("'<f8'", "(1,)"), 9), "npy-length");
    assert_eq!(fault(&with("'<f8'", "(4294967296, 4294967296)"), 0), "npy-shape-overflow");
    assert_eq!(fault(&with("'<f8'", "(4294967296, 0, 4294967296)"), 0), "npy-shape-overflow");
    assert_eq!(fault(&with("'<f8'", "(99999999999999999999,)"), 0), "npy-shape-overflow");
    for shape in ["3", "(3)", "(,)", "(-1,)", "(1 2,)", "(1,,2)", "(1.0,)", "[1]", "(1"] {
        assert_eq!(fault(&with("'<f8'", shape), 8), "npy-header", "{shape}");
    }
    assert_eq!(fault("{'descr': '<f8', 'fortran_order': False}", 8), "npy-header");
    assert_eq!(fault("{'descr': '<f8', 'descr': '<f8', 'shape': (1,)}", 8), "npy-header");
    assert_eq!(fault("{'descr': '<f8', 'fortran_order': 0, 'shape': (1,)}", 8), "npy-header");
    assert_eq!(fault(&(with("'<f8'", "(1,)") + "x"), 8), "npy-header");
    assert_eq!(fault("{", 0), "npy-header");
    assert_eq!(fault("", 0), "npy-header");
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let mut bytes = Header::c_order(Dtype::F64, &[1]).encode();
    bytes.extend([0; 8]);
    for cut in 0..bytes.len() {
        let code = Header::of_slice(&bytes[..cut]).expect_err("it is cut").code();
        let expected = match cut {
            0 => "not-npy",
            1..128 => "npy-truncated",
            _ => "npy-length",
        };
        assert_eq!(code, expected, "{cut}");
    }
    assert_eq!(Header::of_slice(b"PK\x03\x04").map_err(|f| f.code()), Err("not-npy"));
    assert_eq!(Header::of_slice(b"\x93NUMPY\x04\x00\x00\x00").map_err(|f| f.code()), Err("npy-version"));
    let long = [&b"\x93NUMPY"[..], &[2, 0], &70_000u32.to_le_bytes()].concat();
    assert_eq!(Header::of_slice(&long).map_err(|f| f.code()), Err("npy-header-too-long"));
}

#[test]
fn a_fault_points_at_its_field() {
    let fault = NpyFault::BigEndian(">f8".into()).at("/spec/A");
    assert_eq!((&*fault.pointer, fault.code, fault.fix.is_some()), ("/spec/A", "npy-big-endian", true));
}
