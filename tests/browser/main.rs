//! The report's page in a real browser: headless Chromium, driven through its debugging pipe.
//!
//! Run by `cargo xtask test`, which brings the browser; `cargo test --features browser` runs it with one that is there.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod chromium;

use chromium::{Chromium, Medium};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Writes the report of two models on two Macs, and a file that tries to break out of the page.
fn report(folder: &Path, models: &[&str]) -> PathBuf {
    let path = folder.join("report.html");
    let output = Command::new(env!("CARGO_BIN_EXE_mlxplan"))
        .args(["report", "--quiet", "--mac", "m4max-40/64", "m5max-40/128", "-o"])
        .arg(&path)
        .arg("--model")
        .args(models)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

/// The texts of a column of the first table, from top to bottom.
const COLUMN: &str = "Array.from(document.querySelector('table').tBodies[0].rows, r => r.children[COLUMN].textContent)";

fn column(browser: &mut Chromium, index: usize) -> Vec<String> {
    let value = browser.evaluate(&COLUMN.replace("COLUMN", &index.to_string()));
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
}

/// The center of the button of a column's heading, brought into view.
fn heading(index: usize) -> String {
    format!(
        "(() => {{ const b = document.querySelectorAll('table')[0].querySelectorAll('th button')[{index}]; \
         b.scrollIntoView({{ block: 'center', inline: 'center' }}); const r = b.getBoundingClientRect(); \
         return [r.x + r.width / 2, r.y + r.height / 2]; }})()"
    )
}

fn screenshot(browser: &mut Chromium, name: &str) {
    let png = browser.screenshot();
    assert!(png.starts_with(b"\x89PNG") && png.len() > 20_000, "{name}: {} bytes", png.len());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{name}.png"));
    std::fs::write(path, png).unwrap();
}

#[test]
fn the_page_works_in_a_browser() {
    let folder = tempfile::tempdir().unwrap();
    let path = report(folder.path(), &["qwen3-8b-4bit", "llama-3.3-70b-4bit"]);
    let mut browser = Chromium::start();
    browser.open(&path);

    // Sorted by a real click: rates as numbers, rising and then falling.
    let heads = browser.evaluate(
        "Array.from(document.querySelector('table').tHead.rows[0].cells, c => c.innerText.trim())",
    );
    let heads: Vec<&str> = heads.as_array().unwrap().iter().map(|h| h.as_str().unwrap()).collect();
    let rate = heads.iter().position(|h| h.starts_with("tok/s") && !h.contains("90")).unwrap();
    let before = column(&mut browser, rate);
    assert_eq!(before.len(), 4, "{before:?}");
    browser.click(&heading(rate));
    let rising: Vec<f64> = column(&mut browser, rate).iter().map(|t| t.parse().unwrap()).collect();
    assert!(rising.is_sorted() && rising[0] < rising[3], "{rising:?}");
    let sorted = "document.querySelectorAll('table')[0].querySelector('[aria-sort]').ariaSort";
    assert_eq!(browser.evaluate(sorted), "ascending");
    browser.click(&heading(rate));
    let falling: Vec<f64> = column(&mut browser, rate).iter().map(|t| t.parse().unwrap()).collect();
    assert!(falling.iter().rev().is_sorted(), "{falling:?}");
    assert_eq!(browser.evaluate(sorted), "descending");
    // And by the keyboard: texts by the alphabet.
    browser.evaluate("document.querySelector('th button').focus()");
    browser.press_enter();
    assert!(column(&mut browser, 0).is_sorted(), "{:?}", column(&mut browser, 0));

    // Plots are there and have extent.
    let plots = "Array.from(document.querySelectorAll('figure svg'), s => s.getBoundingClientRect().width > 300)";
    assert_eq!(browser.evaluate(plots), serde_json::json!(vec![true; 8]));

    // The figures of a value are shown where the pointer is.
    let spot = "(() => { const s = document.querySelector('.spot'); s.scrollIntoView({ block: 'center' }); \
                const r = s.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()";
    browser.point(spot);
    let shown = browser.evaluate("document.getElementById('figure').innerText");
    let shown = shown.as_str().unwrap();
    assert!(shown.contains("tok/s") && shown.contains("tokens in the cache"), "{shown}");
    browser.point("[1, 1]");
    assert_eq!(browser.evaluate("document.getElementById('figure').hidden"), true);
    // The page says how it is made again.
    let command = browser.evaluate("document.getElementById('command').innerText");
    assert!(
        command.as_str().unwrap().starts_with("mlxplan report --quiet --mac m4max-40/64 m5max")
    );

    // From 900 pixels on nothing is scrolled sideways, not even a table in its own frame.
    browser.show_as(Medium::Narrow);
    let frames = "Array.from(document.querySelectorAll('.wide, figure > div'), e => e.scrollWidth <= e.clientWidth)";
    let frames = browser.evaluate(frames);
    assert!(frames.as_array().unwrap().iter().all(|fits| fits == true), "{frames}");

    for (name, medium) in [
        ("light", Medium::Light),
        ("dark", Medium::Dark),
        ("narrow", Medium::Narrow),
        ("phone", Medium::Phone),
        ("print", Medium::Print),
    ] {
        browser.show_as(medium);
        // Nothing but a table in its own frame is wider than the window.
        let wide = "document.documentElement.scrollWidth <= document.documentElement.clientWidth";
        assert_eq!(browser.evaluate(wide), true, "{name} is wider than its window");
        screenshot(&mut browser, name);
    }
    let back = "getComputedStyle(document.body).backgroundColor";
    browser.show_as(Medium::Light);
    let light = browser.evaluate(back);
    browser.show_as(Medium::Dark);
    assert_ne!(light, browser.evaluate(back));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn names_of_models_cannot_break_out_of_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let evil = folder.path().join("<img src=x onerror=alert(1)> & \"co\"");
    std::fs::create_dir(&evil).unwrap();
    std::fs::write(evil.join("config.json"), include_str!("small.config.json")).unwrap();
    let path = report(folder.path(), &[evil.to_str().unwrap(), "--quant", "4bit"]);
    let mut browser = Chromium::start();
    browser.open(&path);
    assert_eq!(browser.evaluate("document.images.length"), 0);
    assert_eq!(browser.evaluate("document.scripts.length"), 1);
    assert_eq!(browser.evaluate("document.querySelectorAll('figure script, svg img').length"), 0);
    let name = column(&mut browser, 0);
    assert!(name.iter().all(|n| n.contains("<img src=x onerror=alert(1)> & \"co\"")), "{name:?}");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
