//! Planted errors are flagged by the checks that read blobs.
