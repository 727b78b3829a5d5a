use super::*;
use std::path::Path;

fn with_file(name: &str, text: &str) -> (tempfile::TempDir, Macs) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(name), text).unwrap();
    let catalog = Macs::new(DataDirs::new(vec![dir.path().to_owned()]));
    (dir, catalog)
}

fn problems(result: Result<impl Sized, MacsError>, dir: &Path) -> Vec<String> {
    match result {
        Err(MacsError::Invalid(problems)) => {
            let prefix = format!("{}/", dir.display());
            problems.iter().map(|p| p.to_string().replace(&prefix, "")).collect()
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("no problems"),
    }
}

#[test]
fn embedded_catalogs_are_valid_and_complete() {
    let catalog = Macs::embedded();
    assert_eq!(catalog.chips().unwrap().len(), 40);
    assert_eq!(catalog.macs().unwrap().len(), 74);
    assert_eq!(catalog.limits().unwrap().len(), 26);
    let configs: usize = catalog.macs().unwrap().iter().map(|mac| mac.configs.len()).sum();
    assert_eq!(configs, 178);
}

#[test]
fn everything_that_ships_names_its_sources() {
    let catalog = Macs::embedded();
    for chip in catalog.chips().unwrap() {
        assert!(!chip.sources.is_empty(), "{}", chip.id);
    }
    assert!(catalog.limits().unwrap().iter().all(|limit| !limit.sources.is_empty()));
    for mac in catalog.macs().unwrap() {
        assert!(!mac.sources.is_empty(), "{}", mac.id);
        for config in &mac.configs {
            let priced = config.usd_now.or(config.usd_launch).is_some();
            let sourced = config.price_source.is_some() || !mac.price_sources.is_empty();
            assert!(sourced || !priced, "{}: {config:?}", mac.id);
        }
    }
}

#[test]
fn bandwidth_belongs_to_bin_and_memory() {
    let catalog = Macs::embedded();
    let gbs = |id: &str, gib| catalog.chip(id).unwrap().unwrap().bandwidth(gib).gbs();
    assert_eq!(gbs("m3max-30", 96), 300.0);
    assert_eq!(gbs("m3max-40", 128), 400.0);
    assert_eq!(gbs("m4max-32", 36), 410.0);
    assert_eq!(gbs("m4max-40", 128), 546.0);
    assert_eq!(gbs("m6-12", 16), 153.0);
    assert_eq!(gbs("m6-12", 24), 170.0);
    let bus = |id: &str, gib| catalog.chip(id).unwrap().unwrap().bus_bandwidth(gib);
    assert_eq!(bus("m5ultra-80", 512).value.gbs(), 1228.8);
    assert_eq!(bus("m6-12", 16).value.gbs(), 153.0);
    assert!(matches!(bus("m6-12", 16).provenance, crate::hardware::Provenance::Assumed { .. }));
}

#[test]
fn chip_ids_are_family_tier_and_cores() {
    for chip in Macs::embedded().chips().unwrap() {
        let family = chip.family.to_lowercase();
        assert_eq!(chip.id, format!("{family}{}-{}", chip.tier.word(), chip.gpu_cores));
        assert!(chip.memory_gib.iter().all(|gib| chip.bandwidth(*gib).gbs() >= 60.0));
    }
}

/// The computed figures of `chips.toml` are the arithmetic they are documented to be, so nothing needs to read them.
#[test]
fn tflops_in_the_file_are_cores_times_clock() {
    let table: toml::Table = CHIPS.parse().unwrap();
    for chip in table["chip"].as_array().unwrap() {
        let number = |key: &str| chip[key].as_integer().unwrap() as f64;
        let per_core_clock = number("gpu_cores") * number("gpu_clock_mhz") / 1e6;
        let fp32 = chip["fp32_tflops"].as_float().unwrap();
        assert!((fp32 - per_core_clock * 256.0).abs() < 0.006, "{chip}");
        if let Some(fp16) = chip.get("matrix_fp16_tflops") {
            assert!((fp16.as_float().unwrap() - per_core_clock * 1024.0).abs() < 0.06, "{chip}");
        }
    }
}

#[test]
fn the_date_is_that_of_the_files() {
    for text in [CHIPS, MACS, LIMITS] {
        assert_eq!(text.parse::<toml::Table>().unwrap()["as_of"].as_str(), Some(AS_OF));
    }
}

#[test]
fn constants_agree_with_the_rules_in_the_limits_file() {
    let table: toml::Table = LIMITS.parse().unwrap();
    use crate::hardware::limits::{MIB, PAGE};
    assert_eq!(table["override"]["unit_bytes"].as_integer(), Some(MIB as i64));
    assert_eq!(table["max_buffer"]["ratio_of_default_limit"].as_float(), Some(0.75));
    assert_eq!(table["max_buffer"]["round_down_to_bytes"].as_integer(), Some(PAGE as i64));
}

#[test]
fn an_override_changes_only_the_keys_it_names() {
    let (dir, catalog) = with_file(
        "chips.toml",
        "[[chip]]\nid = \"m4max-40\"\nbandwidth_gbs = 500\n\n[[chip]]\nid = \"m7-14\"\nfamily = \"M7\"\ngeneration = 7\n\
         tier = \"base\"\nyear = 2027\nbrand_string = \"Apple M7\"\ngpu_cores = 14\nmemory_gib = [24, 48]\n\
         bandwidth_gbs = 200\ngpu_clock_mhz = 1800\nmatrix_units = true\n",
    );
    let chip = catalog.chip("m4max-40").unwrap().unwrap();
    assert_eq!((chip.bandwidth_gbs, chip.bandwidth_bus_gbs), (500.0, 500.0));
    assert_eq!((chip.gpu_cores, chip.gpu_clock_mhz), (40, 1578));
    assert_eq!(chip.sources.last().unwrap(), &dir.path().join("chips.toml").display().to_string());
    let new = catalog.chip("m7-14").unwrap().unwrap();
    assert_eq!(new.name, "Apple M7 (14-core GPU)");
    assert_eq!(new.metal_arch().value, "applegpu_g19g");
    assert_eq!(catalog.chips().unwrap().len(), 41);
}

#[test]
fn values_that_cannot_be_are_shown_as_they_are_written() {
    let long = format!("\"{}\"", "x".repeat(500));
    for (written, expected) in [
        ("nan", "must be a number, found nan"),
        ("-inf", "must be a number, found -inf"),
        ("1e308", "must be from 1 to 100000, found 1e308"),
        ("1e-300", "must be from 1 to 100000, found 1e-300"),
        ("true", "must be a number, found true"),
        (long.as_str(), "xxx…"),
    ] {
        let text = format!("[[chip]]\nid = \"m4max-40\"\nbandwidth_gbs = {written}\n");
        let (dir, catalog) = with_file("chips.toml", &text);
        let found = problems(catalog.chips(), dir.path());
        assert_eq!(found.len(), 1, "{found:?}");
        let [problem] = &found[..] else { panic!("{found:?}") };
        assert!(problem.starts_with("chips.toml:3:17: chip m4max-40: bandwidth_gbs:"), "{problem}");
        assert!(problem.contains(expected) && problem.len() < 200, "{problem}");
    }
}

#[test]
fn every_problem_of_a_file_is_listed_with_its_place() {
    let (dir, catalog) = with_file(
        "chips.toml",
        "[[chip]]\nid = \"m4max-40\"\ngpu_cors = 41\nbandwidth_gbs = \"fast\"\n\n\
         [[chip]]\nid = \"m8-1\"\nfamily = \"M8\"\ntier = \"mega\"\nmemory_gib = [32, 16]\n\n\
         [[chip]]\nid = \"m4max-40\"\n\n[[chp]]\nid = \"x\"\n",
    );
    assert_eq!(
        problems(catalog.chips(), dir.path()),
        [
            "chips.toml:3:1: chip m4max-40: gpu_cors: unknown key; did you mean \"gpu_cores\"?",
            "chips.toml:4:17: chip m4max-40: bandwidth_gbs: must be a number, found \"fast\"",
            "chips.toml:6:1: chip m8-1: generation: is missing; it must be a whole number",
            "chips.toml:9:8: chip m8-1: tier: must be \"base\", \"pro\", \"max\", \"ultra\" or \"phone\", found \"mega\"",
            "chips.toml:6:1: chip m8-1: year: is missing; it must be a whole number",
            "chips.toml:6:1: chip m8-1: brand_string: is missing; it must be a text that is not empty",
            "chips.toml:6:1: chip m8-1: gpu_cores: is missing; it must be a whole number",
            "chips.toml:6:1: chip m8-1: bandwidth_gbs: is missing; it must be a number",
            "chips.toml:6:1: chip m8-1: gpu_clock_mhz: is missing; it must be a whole number",
            "chips.toml:6:1: chip m8-1: matrix_units: is missing; it must be true or false",
            "chips.toml:13:6: chip m4max-40: id: stands twice in this file",
            "chips.toml:15:3: chp: unknown key; did you mean \"chip\"?",
        ]
    );
}

#[test]
fn syntax_errors_name_their_place() {
    let (dir, catalog) = with_file("macs.toml", "[[mac]]\nid = \"a\"\nyear = = 3\n");
    let problems = problems(catalog.macs(), dir.path());
    assert!(problems[0].starts_with("macs.toml:3:"), "{problems:?}");
}

#[test]
fn references_of_macs_must_resolve() {
    let (dir, catalog) = with_file(
        "macs.toml",
        "[[mac]]\nid = \"studio-m4max-40-2025\"\nchip = \"m4max-41\"\n\n\
         [[mac]]\nid = \"mini-m4-2024\"\nconfigs = [\n  { memory_gib = 20, ssd_gb = 256 },\n  { memory_gib = 16 },\n]\n",
    );
    assert_eq!(
        problems(catalog.macs(), dir.path()),
        [
            "macs.toml:3:8: mac studio-m4max-40-2025: chip: there is no chip \"m4max-41\"; did you mean \"m4max-40\"?",
            "macs.toml:9:3: mac mini-m4-2024: configs: ssd_gb: is missing; it must be a whole number",
            "macs.toml:7:11: mac mini-m4-2024: configs: 20 GB is not offered with m4-10, only [16, 24, 32]",
        ]
    );
}

#[test]
fn own_prices_are_laid_over_the_catalog() {
    let (_dir, catalog) = with_file(
        "prices.toml",
        "[[price]]\nmac = \"studio-m4max-40-2025\"\nmemory_gib = 128\nusd_now = 2899\nsource = \"refurbished\"\n\n\
         [[price]]\nmac = \"studio-m4max-40-2025\"\nmemory_gib = 64\nssd_gb = 2048\nusd_now = 2500\n",
    );
    let mac = catalog.mac("studio-m4max-40-2025").unwrap().unwrap();
    let price = |gib, ssd| {
        let mut configs = mac.configs.iter();
        configs.find(|c| (c.memory_gib, c.ssd_gb) == (gib, ssd)).and_then(|c| c.usd_now)
    };
    assert_eq!(price(128, 512), Some(2899));
    assert_eq!(price(64, 2048), Some(2500));
    assert_eq!(price(64, 512), None);
}

#[test]
fn prices_that_match_nothing_are_problems() {
    let (dir, catalog) = with_file(
        "prices.toml",
        "[[price]]\nmac = \"studio-m4max-40-2024\"\nmemory_gib = 128\nusd_now = 2899\n\n\
         [[price]]\nmac = \"mini-m4-2024\"\nmemory_gib = 16\nusd_now = 500\n\n\
         [[price]]\nmac = \"mini-m4-2024\"\nmemory_gib = 64\nusd_now = 500\n",
    );
    assert_eq!(
        problems(catalog.macs(), dir.path()),
        [
            "prices.toml:2:7: price of studio-m4max-40-2024: mac: there is no Mac \"studio-m4max-40-2024\"; did you mean \"studio-m4max-40-2025\"?",
            "prices.toml:6:1: price of mini-m4-2024: ssd_gb: is needed: this Mac comes with [256, 512] GB storage",
            "prices.toml:13:14: price of mini-m4-2024: memory_gib: 64 GB is not offered, only [16, 24, 32]",
        ]
    );
}

#[test]
fn limits_can_be_added() {
    let (_dir, catalog) = with_file(
        "gpu_memory_limits.toml",
        "[[limit]]\nmemory_gib = 192\nrule = \"macos26\"\nlimit_bytes = 175000000000\n",
    );
    let limits = catalog.limits().unwrap();
    assert_eq!(limits.len(), 26);
    let limit =
        limits.iter().find(|l| l.memory_gib == 192 && l.rule == LimitRule::Macos26).unwrap();
    assert_eq!((limit.limit.0, limit.basis), (175_000_000_000, LimitBasis::Measured));
}
