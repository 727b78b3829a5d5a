//! Readings from the output of shell commands, so that another Mac can be probed over `ssh` or from a bug report.
//!
//! ```sh
//! sysctl hw machdep.cpu kern iogpu vm.swapusage; ioreg -rc AGXAccelerator -d1; pmset -g; pmset -g batt
//! ```
//!
//! `system_profiler SPHardwareDataType SPDisplaysDataType`, as text or with `-json`, and MLX's `device_info()` are
//! understood too. Lines that mean nothing are skipped, so outputs can simply be concatenated.

use super::parse;
use super::readings::{MetalReading, Platform, ProfilerReading, Readings, SysctlValue};
use crate::units::Bytes;

/// First segments of the `sysctl` names that are kept.
const SYSCTL: [&str; 6] = ["hw", "kern", "machdep", "vm", "iogpu", "debug"];
/// First words of the `pmset -g` lines that are kept.
const PMSET: [&str; 3] = ["powermode", "lowpowermode", "highpowermode"];

/// Readings of the Mac whose outputs these are.
#[must_use]
pub fn parse(text: &str) -> Readings {
    let mut readings = Readings { platform: Platform::Macos, ..Readings::default() };
    let mut profiler = ProfilerReading::default();
    let mut json: Option<String> = None;
    for line in text.lines() {
        if let Some(document) = &mut json {
            document.push_str(line.trim_end_matches('%'));
            document.push('\n');
            if line.starts_with('}') {
                merge_json(&mut profiler, &mut readings, document);
                json = None;
            }
        } else if line == "{" {
            json = Some("{\n".to_owned());
        } else {
            read_line(&mut readings, &mut profiler, line);
        }
    }
    if let Some(document) = &json {
        merge_json(&mut profiler, &mut readings, document);
    }
    if profiler != ProfilerReading::default() {
        readings.profiler = Some(profiler);
    }
    readings
}

fn merge_json(profiler: &mut ProfilerReading, readings: &mut Readings, document: &str) {
    match parse::system_profiler(document.as_bytes()) {
        Ok(found) => {
            profiler.chip = found.chip.or(profiler.chip.take());
            profiler.model = found.model.or(profiler.model.take());
            profiler.memory = found.memory.or(profiler.memory);
            profiler.processors = found.processors.or(profiler.processors.take());
            profiler.gpu_cores = found.gpu_cores.or(profiler.gpu_cores);
        }
        Err(why) => readings.failures.push(format!("system_profiler: {why}")),
    }
}

fn read_line(readings: &mut Readings, profiler: &mut ProfilerReading, line: &str) {
    // ioreg draws its tree with bars and pluses.
    let line = line.trim_start_matches(['|', ' ', '\t']).trim_end();
    if line.contains("max_recommended_working_set_size") {
        readings.metal = Some(device_info(line));
    } else if let Some(class) = line.strip_prefix("+-o ") {
        let class = class.split_whitespace().next().unwrap_or_default();
        if class.starts_with("AGXAccelerator") {
            readings.gpu_class = Some(class.to_owned());
        }
    } else if let Some((key, value)) =
        line.strip_prefix('"').and_then(|rest| rest.split_once("\" = "))
    {
        registry(readings, key, value);
    } else if PMSET.iter().any(|key| line.split_whitespace().next() == Some(key)) {
        let pmset = readings.pmset.get_or_insert_default();
        pmset.push_str(line);
        pmset.push('\n');
    } else if let Some(rest) = line.strip_prefix("Now drawing from '") {
        readings.power_source = rest.split('\'').next().map(str::to_owned);
    } else if line.starts_with("-InternalBattery") {
        let percent = line.split(['%', ' ', '\t', ';']).find_map(|word| word.parse().ok());
        readings.battery_percent = percent;
    } else if let Some((key, value)) = line.split_once(':') {
        let (key, value) = (key.trim(), value.trim());
        if is_sysctl(key) {
            sysctl(readings, key, value);
        } else {
            profile(profiler, key, value);
        }
    }
}

fn is_sysctl(key: &str) -> bool {
    let name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    key.split_once('.').is_some_and(|(first, _)| SYSCTL.contains(&first)) && key.chars().all(name)
}

fn sysctl(readings: &mut Readings, key: &str, value: &str) {
    if key == "vm.swapusage" {
        readings.swap = parse::swap_usage_text(value);
        return;
    }
    let value = match value.parse() {
        Ok(number) => SysctlValue::Int(number),
        Err(_) => SysctlValue::Text(value.to_owned()),
    };
    readings.sysctl.insert(key.to_owned(), value);
}

fn registry(readings: &mut Readings, key: &str, value: &str) {
    match key {
        "gpu-core-count" => readings.gpu_core_count = value.parse().ok(),
        "IOClass" if value.starts_with("\"AGXAccelerator") => {
            readings.gpu_class = Some(value.trim_matches('"').to_owned());
        }
        // The GPU driver's model is the chip's brand string.
        "model" if value.starts_with("\"Apple ") => {
            let brand = SysctlValue::Text(value.trim_matches('"').to_owned());
            readings.sysctl.entry("machdep.cpu.brand_string".to_owned()).or_insert(brand);
        }
        "voltage-states9" => readings.gpu_dvfs = hex(value.trim_matches(['<', '>'])),
        _ => {}
    }
}

fn profile(profiler: &mut ProfilerReading, key: &str, value: &str) {
    let text = || Some(value.to_owned()).filter(|value| !value.is_empty());
    match key {
        "Chip" | "Chipset Model" => profiler.chip = text().or(profiler.chip.take()),
        "Model Identifier" => profiler.model = text(),
        "Memory" => profiler.memory = parse::memory_text(value).or(profiler.memory),
        // Of the CPU it reads "12 (8 performance and 4 efficiency)", of the GPU "38".
        "Total Number of Cores" => {
            profiler.gpu_cores = value.parse().ok().or(profiler.gpu_cores);
        }
        _ => {}
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.len().is_multiple_of(2).then(|| digits.chunks_exact(2).map(byte).collect())?
}

/// MLX's `device_info()`, as Python or JSON prints it on one line.
fn device_info(line: &str) -> MetalReading {
    let value = |key: &str| {
        let after = line.split(key).nth(1)?.trim_start_matches(['\'', '"', ':', ' ']);
        after.split(['\'', '"', ',', '}']).next().map(str::trim).filter(|value| !value.is_empty())
    };
    let bytes = |key: &str| value(key)?.parse().ok().map(Bytes);
    MetalReading {
        name: value("device_name").map(str::to_owned),
        architecture: value("architecture").map(str::to_owned),
        recommended_max_working_set: bytes("max_recommended_working_set_size"),
        max_buffer_length: bytes("max_buffer_length"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn device_info_of_mlx_is_understood() {
        // As printed on an M5 Max with a raised limit and on an M4 Pro.
        let raised = "wired limit {'device_name': 'Apple M5 Max', 'max_recommended_working_set_size': 130566586368, \
                      'memory_size': 137438953472, 'architecture': 'applegpu_g17s', 'max_buffer_length': 86586540032, \
                      'resource_limit': 499000}";
        let metal = parse(raised).metal.unwrap();
        assert_eq!(metal.name.as_deref(), Some("Apple M5 Max"));
        assert_eq!(metal.architecture.as_deref(), Some("applegpu_g17s"));
        assert_eq!(metal.recommended_max_working_set, Some(Bytes(130_566_586_368)));
        assert_eq!(metal.max_buffer_length, Some(Bytes(86_586_540_032)));
        let pro = "{'resource_limit': 499000, 'max_buffer_length': 30150672384, 'architecture': 'applegpu_g16s', \
                   'memory_size': 51539607552, 'max_recommended_working_set_size': 40200896512, 'device_name': 'Apple M4 Pro'}";
        assert_eq!(
            parse(pro).metal.unwrap().recommended_max_working_set,
            Some(Bytes(40_200_896_512))
        );
    }

    #[test]
    fn power_lines_are_understood() {
        let readings = parse(
            "Now drawing from 'Battery Power'\n -InternalBattery-0 (id=35324003)\t87%; discharging; 4:06 remaining\n\
             System-wide power settings:\n lowpowermode         1\n hibernatemode        3\n",
        );
        assert_eq!(readings.power_source.as_deref(), Some("Battery Power"));
        assert_eq!(readings.battery_percent, Some(87));
        assert_eq!(readings.pmset.as_deref(), Some("lowpowermode         1\n"));
    }

    #[test]
    fn registry_lines_are_understood_with_and_without_the_tree() {
        let readings = parse(
            "+-o AGXAcceleratorG16G  <class AGXAcceleratorG16G, id 0x10000039c>\n    {\n  | |   \"model\" = \"Apple M4\"\n  \
             \"gpu-core-count\" = 10\n \"voltage-states9\" = <0000000000000000807b1759ff000000>\n",
        );
        assert_eq!(readings.gpu_class.as_deref(), Some("AGXAcceleratorG16G"));
        assert_eq!(readings.gpu_core_count, Some(10));
        assert_eq!(readings.text("machdep.cpu.brand_string").as_deref(), Some("Apple M4"));
        assert_eq!(
            readings.gpu_dvfs.as_deref().and_then(super::super::parse::gpu_clock_mhz),
            Some(1495)
        );
    }

    proptest! {
        #[test]
        fn anything_can_be_parsed(text in "(?s).{0,400}") {
            let _ = parse(&text);
        }

        #[test]
        fn anything_that_looks_right_can_be_parsed(
            lines in prop::collection::vec(
                ("(hw|kern|iogpu|vm)\\.[a-z.]{0,12}|\"gpu-core-count\" = |Memory|-InternalBattery|\\{|\\}", "[: '%<>{}0-9a-z\"]{0,20}"),
                0..30,
            ),
        ) {
            let text: Vec<String> = lines.iter().map(|(key, value)| format!("{key}: {value}")).collect();
            let readings = parse(&text.join("\n"));
            let _ = super::super::interpret(&readings, &crate::hardware::Macs::embedded());
        }
    }
}
