//! Linux: no MLX GPU here, but everything about other machines works.

use super::empty::empty;
#[cfg(not(target_os = "macos"))]
use super::readings::{LinuxReading, Platform};
use super::{Probe, ProbeError, Readings};
use crate::units::Bytes;

/// Longest part of a file under `/proc` that is read.
#[cfg(not(target_os = "macos"))]
const MAX_BYTES: u64 = 1 << 20;

/// Reads this machine: the CPU and the memory, enough to say what it is.
#[cfg(not(target_os = "macos"))]
pub(super) fn read() -> Readings {
    use std::io::Read;

    let file = |path: &str| {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).ok()?;
        file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    if !cfg!(target_os = "linux") {
        return Readings {
            failures: vec!["mlxplan does not know how to read this operating system".to_owned()],
            ..Readings::default()
        };
    }
    Readings {
        platform: Platform::Linux,
        linux: Some(LinuxReading {
            cpuinfo: file("/proc/cpuinfo").unwrap_or_default(),
            meminfo: file("/proc/meminfo").unwrap_or_default(),
            device_tree_model: file("/proc/device-tree/model"),
        }),
        ..Readings::default()
    }
}

pub(super) fn interpret(readings: &Readings) -> Result<Probe, ProbeError> {
    let mut probe = empty(readings);
    let Some(linux) = &readings.linux else {
        return Err(ProbeError::Unreadable("nothing under /proc".to_owned()));
    };
    let value = |text: &str, keys: &[&str]| {
        text.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            let value = value.trim();
            (keys.contains(&key.trim()) && !value.is_empty()).then(|| value.to_owned())
        })
    };
    let model =
        linux.device_tree_model.as_deref().map(|model| model.trim_matches(['\0', ' ', '\n']));
    let model = model.filter(|model| !model.is_empty()).map(str::to_owned);
    let cpu = value(&linux.cpuinfo, &["model name", "Model", "Hardware", "cpu model"]);
    if let Some(source) = match (&cpu, &model) {
        (Some(_), _) => Some("/proc/cpuinfo"),
        (None, Some(_)) => Some("/proc/device-tree/model"),
        (None, None) => None,
    } {
        probe.sources.insert("brand", source.to_owned());
    }
    let apple = model.as_deref().is_some_and(|model| model.starts_with("Apple "));
    probe.brand = cpu.or(model);
    let kib = value(&linux.meminfo, &["MemTotal"])
        .and_then(|text| text.strip_suffix("kB")?.trim().parse::<u64>().ok());
    probe.memory_bytes = kib.and_then(|kib| kib.checked_mul(1024)).map(Bytes);
    if probe.memory_bytes.is_some() {
        probe.sources.insert("memory_bytes", "/proc/meminfo MemTotal".to_owned());
    }
    let threads = linux.cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    probe.cpu_cores = u32::try_from(threads).ok().filter(|threads| *threads > 0);
    if probe.cpu_cores.is_some() {
        probe.sources.insert("cpu_cores", "/proc/cpuinfo, logical processors".to_owned());
    }
    probe.notes.push(if apple {
        "Linux on a Mac: MLX has no GPU here; start macOS to probe, calibrate and measure".to_owned()
    } else {
        "not a Mac: MLX has no GPU here; planning for any Mac, comparing, checking plans and measuring servers over \
         HTTP all work"
            .to_owned()
    });
    Ok(probe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::probe::readings::{LinuxReading, Platform};

    fn probe(cpuinfo: &str, meminfo: &str, model: Option<&str>) -> Probe {
        let readings = Readings {
            platform: Platform::Linux,
            linux: Some(LinuxReading {
                cpuinfo: cpuinfo.to_owned(),
                meminfo: meminfo.to_owned(),
                device_tree_model: model.map(str::to_owned),
            }),
            ..Readings::default()
        };
        interpret(&readings).unwrap()
    }

    #[test]
    fn a_server_says_what_it_is() {
        let cpuinfo = "processor\t: 0\nmodel name\t: AMD EPYC 7763 64-Core Processor\n\nprocessor\t: 1\n\
                       model name\t: AMD EPYC 7763 64-Core Processor\n";
        let probe = probe(cpuinfo, "MemTotal:       16366024 kB\nMemFree: 1 kB\n", None);
        assert_eq!(probe.brand.as_deref(), Some("AMD EPYC 7763 64-Core Processor"));
        assert_eq!(probe.memory_bytes, Some(Bytes(16_366_024 * 1024)));
        assert_eq!((probe.cpu_cores, probe.apple_silicon), (Some(2), false));
        assert!(probe.notes[0].starts_with("not a Mac"));
    }

    #[test]
    fn linux_on_a_mac_is_recognized() {
        let model = Some("Apple MacBook Pro (14-inch, M1 Pro, 2021)\0");
        let probe = probe("processor\t: 0\nBogoMIPS\t: 48.00\n", "", model);
        assert_eq!(probe.brand.as_deref(), Some("Apple MacBook Pro (14-inch, M1 Pro, 2021)"));
        assert!(!probe.apple_silicon);
        assert!(probe.notes[0].starts_with("Linux on a Mac"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_can_be_read() {
        let probe = interpret(&read()).unwrap();
        assert!(probe.memory_bytes.is_some());
    }
}
