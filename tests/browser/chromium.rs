//! Headless Chromium through `--remote-debugging-pipe`: JSON messages that end in a zero byte, on two named pipes.

use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longest time that anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Programs that are known to understand the protocol.
const PROGRAMS: [&str; 4] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const MACOS: [&str; 2] = [
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
];

/// The browser: `CHROMIUM`, or one that is installed.
fn program() -> PathBuf {
    if let Some(given) = std::env::var_os("CHROMIUM") {
        return given.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let named = PROGRAMS.iter().flat_map(|p| folders.iter().map(move |f| f.join(p)));
    let mut all = named.chain(MACOS.iter().map(PathBuf::from));
    all.find(|p| p.is_file()).unwrap_or_else(|| {
        panic!("no Chromium; `cargo xtask setup` installs it, or CHROMIUM names one")
    })
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub enum Medium {
    /// On a desk, light.
    Light,
    /// On a desk, dark.
    Dark,
    /// In a narrow window on a desk, light.
    Narrow,
    /// On a phone, light.
    Phone,
    /// On paper.
    Print,
}

/// A browser with one page.
pub struct Chromium {
    child: Child,
    to: File,
    messages: Receiver<Value>,
    session: Option<String>,
    sent: u64,
    complaints: Vec<String>,
    /// The user's data; goes with the browser.
    _folder: tempfile::TempDir,
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Chromium {
    /// Starts a browser with an empty page.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [to, from] = ["to", "from"].map(|name| folder.path().join(name));
        assert!(Command::new("mkfifo").args([&to, &from]).status().unwrap().success());
        // The shell gives the pipes the numbers that the protocol wants.
        let child = Command::new("sh")
            .args(["-c", "to=$1 from=$2; shift 2; exec \"$@\" 3<\"$to\" 4>\"$from\"", "sh"])
            .args([&to, &from])
            .arg(program())
            .args(["--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu"])
            .args(["--disable-quic", "--no-first-run", "--disable-background-networking"])
            .args(["--disable-component-update", "--disable-sync", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let to = OpenOptions::new().write(true).open(to).unwrap();
        let from = BufReader::new(File::open(from).unwrap());
        let (tell, messages) = channel();
        std::thread::spawn(move || {
            for message in from.split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else { break };
                if tell.send(message).is_err() {
                    break;
                }
            }
        });
        let mut browser = Self {
            child,
            to,
            messages,
            session: None,
            sent: 0,
            complaints: Vec::new(),
            _folder: folder,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", attach);
        browser.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// The next message; complaints of the page are kept on the way.
    fn next(&mut self, until: Instant) -> Value {
        let left = until.saturating_duration_since(Instant::now());
        let message = self.messages.recv_timeout(left).expect("Chromium answers");
        let text = match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => Some(message["params"].to_string()),
            Some("Runtime.consoleAPICalled") => Some(message["params"]["args"].to_string()),
            Some("Log.entryAdded") => Some(message["params"]["entry"].to_string()),
            _ => None,
        };
        self.complaints.extend(text);
        message
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.sent += 1;
        let mut message = json!({ "id": self.sent, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = self.next(until);
            if answer["id"] == self.sent {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// Opens a file and waits until it is loaded.
    pub fn open(&mut self, path: &Path) {
        let opened =
            self.call("Page.navigate", json!({ "url": format!("file://{}", path.display()) }));
        assert!(opened["errorText"].is_null(), "{opened}");
        let until = Instant::now() + PATIENCE;
        while self.evaluate("document.readyState") != "complete" {
            assert!(Instant::now() < until, "{} does not load", path.display());
        }
    }

    /// The value of an expression in the page.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true });
        let result = self.call("Runtime.evaluate", asked);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Clicks at the point that an expression gives, as a mouse does.
    pub fn click(&mut self, point: &str) {
        let at = self.evaluate(point);
        for kind in ["mousePressed", "mouseReleased"] {
            let event =
                json!({ "type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    /// Moves the pointer to the point that an expression gives.
    pub fn point(&mut self, point: &str) {
        let at = self.evaluate(point);
        let event = json!({ "type": "mouseMoved", "x": at[0], "y": at[1] });
        self.call("Input.dispatchMouseEvent", event);
    }

    /// Presses the enter key where the focus is.
    pub fn press_enter(&mut self) {
        for kind in ["keyDown", "keyUp"] {
            let event = json!({ "type": kind, "key": "Enter", "code": "Enter", "text": "\r", "windowsVirtualKeyCode": 13 });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Shows the page in a window of the medium's size and with its style.
    pub fn show_as(&mut self, medium: Medium) {
        let (width, height, mobile) = match medium {
            Medium::Light | Medium::Dark => (1280, 900, false),
            Medium::Narrow => (900, 700, false),
            Medium::Phone => (390, 844, true),
            // A4 at 96 dots an inch, less margins of a centimetre.
            Medium::Print => (718, 1047, false),
        };
        let window =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.call("Emulation.setDeviceMetricsOverride", window);
        let kind = if matches!(medium, Medium::Print) { "print" } else { "screen" };
        let scheme = if matches!(medium, Medium::Dark) { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "media": kind, "features": features }));
    }

    /// The whole page as PNG.
    pub fn screenshot(&mut self) -> Vec<u8> {
        let asked = json!({ "format": "png", "captureBeyondViewport": true });
        let shot = self.call("Page.captureScreenshot", asked);
        decoded(shot["data"].as_str().unwrap())
    }

    /// What the page and its script have complained about so far.
    pub fn complaints(&mut self) -> Vec<String> {
        // Whatever happened before this answer has been told before it.
        self.evaluate("0");
        std::mem::take(&mut self.complaints)
    }
}

/// Base64 to bytes.
fn decoded(text: &str) -> Vec<u8> {
    let digits = text.bytes().filter_map(|c| match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    });
    let (mut bits, mut held, mut out) = (0_u32, 0_u32, Vec::new());
    for digit in digits {
        bits = (bits << 6) | u32::from(digit);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    out
}
