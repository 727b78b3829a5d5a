//! In place of `raster.rs`, in builds without the feature `png`.

/// Says that there are no PNG files.
///
/// # Errors
/// Always.
pub fn png(_: &str) -> Result<Vec<u8>, String> {
    Err("this mlxplan was built without PNG, the feature `png`; SVG it can write".to_owned())
}
