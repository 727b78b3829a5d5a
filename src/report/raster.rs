//! SVG to PNG, with a font that is built in, so that plots look the same on machines without any.

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree};

/// Pixels for each unit of the SVG: sharp on dense screens and on paper.
const SCALE: f32 = 2.0;
/// Most pixels on a side.
const MAX_PIXELS: f32 = 16_384.0;

/// Draws an SVG text as a PNG file of twice its size. Texts are set in DejaVu Sans.
///
/// # Errors
/// When the text is no SVG, or is too large; the text says so.
pub fn png(svg: &str) -> Result<Vec<u8>, String> {
    let mut options = Options::default();
    let fonts = options.fontdb_mut();
    fonts.load_font_data(dejavu::sans::regular().to_vec());
    fonts.set_sans_serif_family("DejaVu Sans");
    let tree = Tree::from_str(svg, &options).map_err(|e| e.to_string())?;
    let size = tree.size();
    let (width, height) = (size.width() * SCALE, size.height() * SCALE);
    if width > MAX_PIXELS || height > MAX_PIXELS {
        return Err(format!("a picture of {width} × {height} pixels is too large"));
    }
    // Rounded up to at least one whole pixel; the limit above keeps both in range.
    let (columns, rows) = (width.ceil().max(1.0) as u32, height.ceil().max(1.0) as u32);
    let mut pixels = Pixmap::new(columns, rows).ok_or("a picture without area")?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn svg(content: &str) -> String {
        format!(
            "<svg width=\"60\" height=\"20\" xmlns=\"http://www.w3.org/2000/svg\">\
             <rect width=\"60\" height=\"20\" fill=\"#FFFFFF\"/>{content}</svg>"
        )
    }

    /// Pixels that are not white.
    fn inked(content: &str) -> usize {
        let png = png(&svg(content)).expect("drawn");
        let pixels = Pixmap::decode_png(&png).expect("a PNG file");
        assert_eq!((pixels.width(), pixels.height()), (120, 40));
        pixels.pixels().iter().filter(|p| p.red() < 128).count()
    }

    #[test]
    fn texts_are_drawn_without_any_installed_font() {
        let text = |t: &str| {
            format!("<text x=\"5\" y=\"15\" font-family=\"sans-serif\" font-size=\"12\">{t}</text>")
        };
        assert_eq!(inked(""), 0);
        let short = inked(&text("tok/s"));
        assert!(short > 50, "{short}");
        assert!(inked(&text("tok/s × 90 %")) > short);
    }

    #[test]
    fn what_is_no_picture_is_said() {
        assert!(png("hello").is_err());
        let huge = "<svg width=\"99999\" height=\"10\" xmlns=\"http://www.w3.org/2000/svg\"/>";
        assert!(png(huge).unwrap_err().contains("too large"));
    }
}
