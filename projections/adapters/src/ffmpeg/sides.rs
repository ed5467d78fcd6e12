//! Sides of pictures on their way through the filters: what would be refused at the end of it.

use super::codec::{FORMATS, Filter, Video, VideoCodec};
use crate::faults::Faults;
use alloc::format;
use alloc::string::String;
use forge_projections::family::Fault;

/// FFmpeg handles pictures of which (width + 128)·(height + 128) is less.
const AREA_MAX: u64 = (i32::MAX / 8) as u64;
/// Least side that `libx265` takes.
const X265_SIDE_MIN: u32 = 16;

/// What the source's pictures are.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    pub width: u32,
    pub height: u32,
    pub pix_fmt: &'a str,
}

/// A picture that a filter or the encoder does not take.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Refusal {
    pointer: String,
    code: &'static str,
    detail: String,
    fix: String,
}

/// The sides, as far as they are known.
#[derive(Clone, Copy)]
enum Sides {
    Unknown,
    /// As the file has them: shown, the picture may be turned.
    EitherWay(u32, u32),
    Known(u32, u32),
}

/// How many pixels across and down share a colour.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chroma {
    Unknown,
    Each,
    Across,
    Both,
}

impl Chroma {
    /// Of a pixel format in ffmpeg's words.
    fn of(format: &str) -> Chroma {
        match () {
            () if format.contains("420") || format.starts_with("nv12") || format.starts_with("p010") => Chroma::Both,
            () if format.contains("422") => Chroma::Across,
            () if format.contains("444") || format.starts_with("gray") => Chroma::Each,
            () => Chroma::Unknown,
        }
    }

    fn word(self) -> &'static str {
        if self == Chroma::Across { "4:2:2" } else { "4:2:0" }
    }
}

/// Adds what the spec alone shows.
pub fn check_spec(video: &Video, faults: &mut Faults) {
    if let Err(Refusal { pointer, code, detail, fix }) = walk(video, None) {
        faults.add(pointer, code, detail, &fix);
    }
}

/// The same, once the source is known.
///
/// # Errors
/// What a filter or the encoder would refuse.
pub fn check_source(video: &Video, source: Source<'_>) -> Result<(), Fault> {
    let refused = |Refusal { pointer, code, detail, fix }| Fault::new(code, format!("{pointer}: {detail}; {fix}"));
    walk(video, Some(source)).map_err(refused)
}

fn walk(video: &Video, source: Option<Source<'_>>) -> Result<(), Refusal> {
    let mut sides = source.map_or(Sides::Unknown, |source| Sides::EitherWay(source.width, source.height));
    let mut chroma = source.map_or(Chroma::Unknown, |source| Chroma::of(source.pix_fmt));
    let mut set_at = String::from("/spec/video/codec");
    for (at, filter) in video.filters.iter().enumerate() {
        match *filter {
            Filter::Scale(width, height) => {
                set_at = format!("/spec/video/filters/{at}/scale");
                check_area(&set_at, width, height)?;
                sides = Sides::Known(width, height);
            }
            Filter::Crop(width, height, left, top) => {
                set_at = format!("/spec/video/filters/{at}/crop");
                check_window(&set_at, sides, [left + width, top + height])?;
                sides = Sides::Known(width, height);
            }
            Filter::Format(place) => chroma = Chroma::of(FORMATS[usize::from(place)]),
            Filter::Eq(..) => {}
        }
    }
    if let Some(place) = video.pix_fmt {
        chroma = Chroma::of(video.codec.pixel_formats()[usize::from(place)]);
    } else if video.codec == VideoCodec::SvtAv1 {
        chroma = Chroma::Both;
    }
    check_encoder(video.codec, &set_at, sides, chroma)
}

fn check_area(pointer: &str, width: u32, height: u32) -> Result<(), Refusal> {
    if (u64::from(width) + 128) * (u64::from(height) + 128) < AREA_MAX {
        return Ok(());
    }
    Err(Refusal {
        pointer: pointer.into(),
        code: "picture-too-large",
        detail: format!("a picture of {width}x{height} is more than ffmpeg handles"),
        fix: format!("make (width + 128) times (height + 128) less than {AREA_MAX}"),
    })
}

fn check_window(pointer: &str, sides: Sides, [right, bottom]: [u32; 2]) -> Result<(), Refusal> {
    let within = |width, height| right <= width && bottom <= height;
    let (width, height, fits) = match sides {
        Sides::Unknown => return Ok(()),
        Sides::Known(width, height) => (width, height, within(width, height)),
        Sides::EitherWay(width, height) => (width, height, within(width, height) || within(height, width)),
    };
    if fits {
        return Ok(());
    }
    Err(Refusal {
        pointer: pointer.into(),
        code: "crop-outside-picture",
        detail: format!("the window ends at {right},{bottom}, outside of the picture of {width}x{height}"),
        fix: "make left + width and top + height no more than the picture's sides".into(),
    })
}

fn check_encoder(codec: VideoCodec, pointer: &str, sides: Sides, chroma: Chroma) -> Result<(), Refusal> {
    let (width, height, turned) = match sides {
        Sides::Unknown => return Ok(()),
        Sides::Known(width, height) => (width, height, false),
        Sides::EitherWay(width, height) => (width, height, true),
    };
    if codec == VideoCodec::X265 && width.min(height) < X265_SIDE_MIN {
        return Err(Refusal {
            pointer: pointer.into(),
            code: "picture-too-small",
            detail: format!("`libx265` takes no side below {X265_SIDE_MIN}; these pictures are {width}x{height}"),
            fix: format!("scale to at least {X265_SIDE_MIN}x{X265_SIDE_MIN}, or use libx264"),
        });
    }
    let halves = matches!(codec, VideoCodec::X264 | VideoCodec::X265 | VideoCodec::SvtAv1);
    let odd = match chroma {
        Chroma::Both => width % 2 == 1 || height % 2 == 1,
        Chroma::Across => width % 2 == 1 && (!turned || height % 2 == 1),
        Chroma::Each | Chroma::Unknown => false,
    };
    if !halves || !odd {
        return Ok(());
    }
    let (even_width, even_height) = (width.next_multiple_of(2), height.next_multiple_of(2));
    let other = if codec == VideoCodec::SvtAv1 { "" } else { ", or set `pix_fmt` to yuv444p" };
    Err(Refusal {
        pointer: pointer.into(),
        code: "odd-sides",
        detail: format!(
            "`{}` takes even sides at {}; these pictures are {width}x{height}",
            codec.word(),
            chroma.word()
        ),
        fix: format!("scale to {even_width}x{even_height} or other even sides{other}"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::codec::Quality;
    use super::*;
    use alloc::vec::Vec;

    const SOURCE: Source<'_> = Source { width: 160, height: 120, pix_fmt: "yuv420p" };

    fn video(codec: VideoCodec, filters: &[Filter]) -> Video {
        Video { codec, quality: Quality::Crf(23), preset: None, pix_fmt: None, filters: Vec::from(filters) }
    }

    /// What the spec alone shows, and what the source shows.
    fn codes(video: &Video, source: Source<'_>) -> (Option<&'static str>, Option<&'static str>) {
        let code = |walked: Result<(), Refusal>| walked.err().map(|refusal| refusal.code);
        (code(walk(video, None)), code(walk(video, Some(source))))
    }

    #[test]
    fn odd_sides_are_refused_where_colours_are_shared() {
        let odd = [Filter::Scale(63, 48)];
        assert_eq!(codes(&video(VideoCodec::X264, &odd), SOURCE), (None, Some("odd-sides")));
        assert_eq!(codes(&video(VideoCodec::SvtAv1, &odd), SOURCE), (Some("odd-sides"), Some("odd-sides")));
        assert_eq!(codes(&video(VideoCodec::Vp9, &odd), SOURCE), (None, None));
        assert_eq!(codes(&video(VideoCodec::Ffv1, &odd), SOURCE), (None, None));
        let said = [Filter::Scale(63, 48), Filter::Format(0)];
        assert_eq!(codes(&video(VideoCodec::X265, &said), SOURCE), (Some("odd-sides"), Some("odd-sides")));
        let whole = Video { pix_fmt: Some(2), ..video(VideoCodec::X264, &said) };
        assert_eq!(codes(&whole, SOURCE), (None, None), "4:4:4 takes any");
        let across = Video { pix_fmt: Some(1), ..video(VideoCodec::X264, &[Filter::Scale(64, 47)]) };
        assert_eq!(codes(&across, SOURCE), (None, None), "4:2:2 shares colours across only");
        let source = Source { width: 161, ..SOURCE };
        assert_eq!(codes(&video(VideoCodec::X264, &[]), source), (None, Some("odd-sides")));
    }

    #[test]
    fn a_window_lies_within_the_picture() {
        let crop = |w, h, x, y| video(VideoCodec::Ffv1, &[Filter::Crop(w, h, x, y)]);
        assert_eq!(codes(&crop(400, 400, 0, 0), SOURCE), (None, Some("crop-outside-picture")));
        assert_eq!(codes(&crop(100, 100, 61, 0), SOURCE), (None, Some("crop-outside-picture")));
        assert_eq!(codes(&crop(100, 100, 60, 20), SOURCE), (None, None));
        assert_eq!(codes(&crop(120, 160, 0, 0), SOURCE), (None, None), "the picture may be turned");
        let scaled = video(VideoCodec::Ffv1, &[Filter::Scale(64, 48), Filter::Crop(64, 48, 1, 0)]);
        assert_eq!(codes(&scaled, SOURCE).0, Some("crop-outside-picture"));
    }

    #[test]
    fn a_picture_has_a_size_that_is_handled() {
        let huge = video(VideoCodec::Ffv1, &[Filter::Scale(16_384, 16_384)]);
        assert_eq!(codes(&huge, SOURCE).0, Some("picture-too-large"));
        assert_eq!(codes(&video(VideoCodec::Ffv1, &[Filter::Scale(16_384, 8192)]), SOURCE), (None, None));
        assert_eq!(codes(&video(VideoCodec::X265, &[Filter::Scale(64, 8)]), SOURCE).0, Some("picture-too-small"));
    }
}
