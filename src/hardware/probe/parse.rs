//! Parsers of what macOS gives: binary properties, `pmset`, `system_profiler`. All take bytes or text that may be
//! anything, and are tested on recorded output of real machines.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

use super::readings::{ProfilerReading, SwapUsage};
use crate::units::{Bytes, GIB};

/// A macOS release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MacosVersion {
    /// 26 in 26.5.2.
    pub major: u32,
    /// 5 in 26.5.2.
    pub minor: u32,
}

impl MacosVersion {
    /// Parses `26.5.2` or `26.5`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('.');
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next().map_or(Some(0), |part| part.parse().ok())?;
        Some(Self { major, minor })
    }
}

/// How macOS trades speed for power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PowerMode {
    /// Automatic, the default.
    Automatic,
    /// Low Power Mode: slower.
    Low,
    /// High Power Mode: sustained speed, more fan noise.
    High,
}

impl fmt::Display for PowerMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Automatic => "automatic",
            Self::Low => "low power",
            Self::High => "high power",
        })
    }
}

/// Power mode from the output of `pmset -g`. Macs with High Power Mode print `powermode` (0 automatic, 1 low, 2 high),
/// others `lowpowermode` (0 or 1).
#[must_use]
pub fn power_mode(pmset: &str) -> Option<PowerMode> {
    let value = |key: &str| {
        pmset.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some(key)).then(|| words.next()?.parse::<u64>().ok())?
        })
    };
    match (value("powermode"), value("lowpowermode"), value("highpowermode")) {
        (Some(1), ..) | (_, Some(1), _) => Some(PowerMode::Low),
        (Some(2), ..) | (.., Some(1)) => Some(PowerMode::High),
        (None, None, None) => None,
        _ => Some(PowerMode::Automatic),
    }
}

/// Highest GPU clock in MHz from `voltage-states9`: pairs of little-endian 32-bit words, frequency and millivolts. The
/// frequencies are in Hz and not always ascending; a table in kHz, as the CPU tables of M4 and later have, is
/// recognized by its size.
#[must_use]
pub fn gpu_clock_mhz(dvfs: &[u8]) -> Option<u32> {
    let frequency = |pair: &[u8]| Some(u32::from_le_bytes(pair.get(..4)?.try_into().ok()?));
    let highest = dvfs.chunks_exact(8).filter_map(frequency).max()?;
    match highest {
        100_000_000.. => Some(highest.saturating_add(500_000) / 1_000_000),
        100_000..100_000_000 => Some(highest.saturating_add(500) / 1_000),
        _ => None,
    }
}

/// Swap from the binary value of `vm.swapusage` (`struct xsw_usage`: total, available and used, 64 bits each).
#[must_use]
pub fn swap_usage(bytes: &[u8]) -> Option<SwapUsage> {
    let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    Some(SwapUsage { total: Bytes(word(0)?), used: Bytes(word(16)?) })
}

/// Swap as `sysctl` prints it: `total = 2048.00M  used = 512.00M  free = 1536.00M  (encrypted)`, in MiB.
#[must_use]
pub fn swap_usage_text(text: &str) -> Option<SwapUsage> {
    let value = |key: &str| {
        let after = text.split(key).nth(1)?.trim_start().strip_prefix('=')?.trim_start();
        let mib: f64 = after.split('M').next()?.trim().parse().ok()?;
        (0.0..1e12).contains(&mib).then(|| Bytes((mib * f64::from(1 << 20)) as u64))
    };
    Some(SwapUsage { total: value("total")?, used: value("used")? })
}

/// Memory as Apple prints it: `64 GB`, meaning GiB.
#[must_use]
pub fn memory_text(text: &str) -> Option<Bytes> {
    let (number, unit) = text.trim().split_once(' ')?;
    let number: u64 = number.parse().ok()?;
    let unit = match unit {
        "GB" => GIB,
        "TB" => GIB << 10,
        _ => return None,
    };
    number.checked_mul(unit).map(Bytes)
}

/// The output of `system_profiler SPHardwareDataType SPDisplaysDataType -json`.
///
/// # Errors
/// When it is no JSON, or has neither of the two sections.
pub fn system_profiler(output: &[u8]) -> Result<ProfilerReading, String> {
    let json: Value = serde_json::from_slice(output).map_err(|e| format!("no JSON: {e}"))?;
    let hardware = json.get("SPHardwareDataType").and_then(|section| section.get(0));
    let displays = json.get("SPDisplaysDataType").and_then(Value::as_array);
    if hardware.is_none() && displays.is_none() {
        return Err("neither SPHardwareDataType nor SPDisplaysDataType in it".to_owned());
    }
    let text = |key: &str| hardware?.get(key)?.as_str().map(str::to_owned);
    let gpu = displays.into_iter().flatten().find(|display| display.get("sppci_cores").is_some());
    let gpu_text = |key: &str| gpu?.get(key)?.as_str();
    Ok(ProfilerReading {
        chip: text("chip_type").or_else(|| gpu_text("sppci_model").map(str::to_owned)),
        model: text("machine_model"),
        memory: text("physical_memory").as_deref().and_then(memory_text),
        processors: text("number_processors"),
        gpu_cores: gpu_text("sppci_cores").and_then(|cores| cores.parse().ok()),
    })
}

/// Core tiers, fastest first, from `number_processors`.
///
/// The fields after the total are performance and efficiency cores up to macOS 15 (`proc 16:12:4`); on macOS 26 the
/// fastest tier, efficiency, and the middle tier of M5 Pro and Max (`proc 18:6:0:12`); on macOS 27 super, performance,
/// efficiency (`proc 12:0:8:4`). `generation` tells whether the fastest tier is "super" (M5 and later).
#[must_use]
pub fn processors(
    text: &str,
    macos: Option<MacosVersion>,
    generation: Option<u32>,
) -> Vec<(&'static str, u32)> {
    let fields: Option<Vec<u32>> = text
        .strip_prefix("proc ")
        .and_then(|fields| fields.split(':').map(|field| field.trim().parse().ok()).collect());
    let fastest = if generation.is_some_and(|g| g >= 5) { "Super" } else { "Performance" };
    let tiers = match fields.as_deref() {
        Some(&[_, p, e]) => vec![(fastest, p), ("Efficiency", e)],
        Some(&[_, s, p, e]) if s == 0 || macos.is_some_and(|v| v.major >= 27) => {
            vec![("Super", s), ("Performance", p), ("Efficiency", e)]
        }
        Some(&[_, fast, e, m]) => vec![(fastest, fast), ("Performance", m), ("Efficiency", e)],
        _ => Vec::new(),
    };
    tiers.into_iter().filter(|(_, cores)| *cores > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `voltage-states9` of an M3 as published by its owner (14 states, Hz and mV); the order is the hardware's.
    const M3_MHZ_MV: [(u32, u32); 14] = [
        (0, 125),
        (338, 665),
        (618, 705),
        (796, 710),
        (832, 745),
        (924, 745),
        (952, 805),
        (1056, 805),
        (1064, 880),
        (1182, 880),
        (1182, 935),
        (1312, 935),
        (1242, 965),
        (1380, 965),
    ];

    fn table(hz_per_mhz: u32) -> Vec<u8> {
        let pairs = M3_MHZ_MV.iter();
        pairs
            .flat_map(|(mhz, mv)| [(mhz * hz_per_mhz).to_le_bytes(), mv.to_le_bytes()].concat())
            .collect()
    }

    #[test]
    fn the_gpu_clock_is_the_highest_of_its_table() {
        assert_eq!(gpu_clock_mhz(&table(1_000_000)), Some(1380));
        assert_eq!(gpu_clock_mhz(&table(1_000)), Some(1380));
        assert_eq!(gpu_clock_mhz(&[0xff; 8]), Some(4294));
        assert_eq!(gpu_clock_mhz(&[0; 16]), None);
        assert_eq!(gpu_clock_mhz(&[1, 2, 3]), None);
    }

    #[test]
    fn power_modes() {
        let mac_studio = "System-wide power settings:\nCurrently in use:\n sleep                0 (sleep prevented by \
                          coreaudiod)\n displaysleep         3\n tcpkeepalive         1\n powermode            0\n \
                          womp                 1\n";
        let air = " hibernatemode        3\n displaysleep         10\n lowpowermode         0\n womp     1\n";
        assert_eq!(power_mode(mac_studio), Some(PowerMode::Automatic));
        assert_eq!(
            power_mode(&mac_studio.replace("powermode            0", "powermode 2")),
            Some(PowerMode::High)
        );
        assert_eq!(
            power_mode(&mac_studio.replace("powermode            0", "powermode 1")),
            Some(PowerMode::Low)
        );
        assert_eq!(power_mode(air), Some(PowerMode::Automatic));
        assert_eq!(
            power_mode(&air.replace("lowpowermode         0", "lowpowermode 1")),
            Some(PowerMode::Low)
        );
        assert_eq!(power_mode("nothing here"), None);
    }

    #[test]
    fn swap_in_both_forms() {
        let text = "total = 2048.00M  used = 512.00M  free = 1536.00M  (encrypted)";
        let swap = SwapUsage { total: Bytes(2 << 30), used: Bytes(512 << 20) };
        assert_eq!(swap_usage_text(text), Some(swap));
        let words = [2_u64 << 30, 1536 << 20, 512 << 20, 4096];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(swap_usage(&bytes), Some(swap));
        assert_eq!(swap_usage(&bytes[..20]), None);
    }

    #[test]
    fn processors_of_every_release() {
        let version = |major| Some(MacosVersion { major, minor: 0 });
        // Recorded: M4 Max on 15, M2 Ultra and M5 and M5 Max on 26, M2 Pro on 27.
        assert_eq!(
            processors("proc 16:12:4", version(15), Some(4)),
            [("Performance", 12), ("Efficiency", 4)]
        );
        assert_eq!(
            processors("proc 24:16:8:0", version(26), Some(2)),
            [("Performance", 16), ("Efficiency", 8)]
        );
        assert_eq!(
            processors("proc 10:4:6:0", version(26), Some(5)),
            [("Super", 4), ("Efficiency", 6)]
        );
        assert_eq!(
            processors("proc 18:6:0:12", version(26), Some(5)),
            [("Super", 6), ("Performance", 12)]
        );
        assert_eq!(
            processors("proc 12:0:8:4", version(27), Some(2)),
            [("Performance", 8), ("Efficiency", 4)]
        );
        // By the same rule, an M6 on 27.
        assert_eq!(
            processors("proc 12:2:4:6", version(27), Some(6)),
            [("Super", 2), ("Performance", 4), ("Efficiency", 6)]
        );
        assert!(processors("8", None, None).is_empty());
    }

    #[test]
    fn versions() {
        let version = |major, minor| Some(MacosVersion { major, minor });
        assert_eq!(MacosVersion::parse("26.5.2"), version(26, 5));
        assert_eq!(MacosVersion::parse("27.0\n"), version(27, 0));
        assert_eq!(MacosVersion::parse("14"), version(14, 0));
        assert_eq!(MacosVersion::parse("Sequoia"), None);
        assert!(version(26, 1) < version(26, 2));
    }

    proptest! {
        #[test]
        fn parsers_survive_anything(bytes in prop::collection::vec(any::<u8>(), 0..200), text in ".{0,200}") {
            let _ = gpu_clock_mhz(&bytes);
            let _ = swap_usage(&bytes);
            let _ = system_profiler(&bytes);
            let _ = (swap_usage_text(&text), memory_text(&text), power_mode(&text), MacosVersion::parse(&text));
            let _ = processors(&format!("proc {text}"), None, None);
        }
    }
}
