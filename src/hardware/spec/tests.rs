use super::*;
use proptest::prelude::*;
use std::sync::LazyLock;

static CATALOG: LazyLock<Macs> = LazyLock::new(Macs::embedded);

fn named(spec: &str) -> Result<Machine, SpecError> {
    resolve_with(spec, &CATALOG, || Err(ProbeError::Incomplete("anything")))
}

fn id(spec: &str) -> String {
    match named(spec) {
        Ok(machine) => machine.id,
        Err(error) => panic!("{spec}: {error}"),
    }
}

fn product(spec: &str) -> Option<String> {
    named(spec).unwrap_or_else(|e| panic!("{spec}: {e}")).mac.map(|mac| mac.id)
}

fn message(spec: &str) -> String {
    named(spec).map(|machine| machine.id).unwrap_err().to_string()
}

#[test]
fn every_form_of_the_contract_resolves() {
    for spec in [
        "m4max-40/128",
        "M4MAX-40/128GB",
        "m4max_40/128",
        "m4max/128",
        "studio-m4max-40-2025/128",
        "Mac16,9/128",
        "Mac16,9 128GB",
        "M4 Max 40-core 128GB",
        "m4 max 128",
        "m4-max-128",
        "Apple M4 Max (40-core GPU), 128 GB",
        "M4 Max 16-core CPU 40-core GPU 128GB 1TB SSD",
        "Mac Studio M4 Max 128 GB",
        "Mac Studio 2025 M4 Max 128GB",
    ] {
        assert_eq!(id(spec), "m4max-40/128", "{spec}");
    }
    assert_eq!(id("M3 Ultra 512GB"), "m3ultra-80/512");
    assert_eq!(id("m4max/64"), "m4max-40/64");
    assert_eq!(id("m4max/36"), "m4max-32/36");
    assert_eq!(id("m6 16"), "m6-12/16");
    assert_eq!(id("m4 10 16"), "m4-10/16");
    assert_eq!(id("m1 pro 16-core 16gb"), "m1pro-16/16");
    assert_eq!(id("A18 Pro"), "a18pro-5/8");
    assert_eq!(id("MacBook Neo"), "a18pro-5/8");
}

#[test]
fn products_are_kept_when_they_are_named() {
    assert_eq!(product("MacBook Pro 16 M4 Max 64GB").as_deref(), Some("mbp16-m4max-40-2024"));
    assert_eq!(product("macbook pro 14\" m4 max 64gb").as_deref(), Some("mbp14-m4max-40-2024"));
    assert_eq!(product("mbp16 m1 pro 16gb").as_deref(), Some("mbp16-m1pro-2021"));
    assert_eq!(product("Mac16,9/64").as_deref(), Some("studio-m4max-40-2025"));
    assert_eq!(product("m4max-40/64"), None);
    // Two sizes of MacBook Pro fit: the machine is clear, the product is not.
    assert_eq!(product("MacBook Pro M4 Max 64GB"), None);
    assert_eq!(named("MacBook Pro M4 Max 64GB").unwrap().fanless, Some(false));
    assert_eq!(named("MacBook Air 15 M4 16GB").unwrap().fanless, Some(true));
    assert_eq!(named("m4-10/16").unwrap().fanless, None);
}

#[test]
fn memory_may_be_left_out_only_when_there_is_one_size() {
    assert_eq!(id("m4max-32"), "m4max-32/36");
    assert_eq!(id("studio-m5max-32-2026"), "m5max-32/36");
    assert_eq!(
        message("m4max-40"),
        "how much memory? \"m4max-40\" could be m4max-40/48, m4max-40/64, m4max-40/128"
    );
    assert_eq!(
        message("m4max"),
        "\"m4max\" is ambiguous; choose from m4max-32/36, m4max-40/48, m4max-40/64, m4max-40/128"
    );
    assert_eq!(
        message("studio-m4max-40-2025"),
        "how much memory? \"studio-m4max-40-2025\" could be studio-m4max-40-2025/48, studio-m4max-40-2025/64, \
         studio-m4max-40-2025/128"
    );
}

/// The bins that a specification stands for.
fn bins(spec: &str) -> Vec<String> {
    let machine = named(spec).unwrap_or_else(|e| panic!("{spec}: {e}"));
    machine.summary().bins
}

#[test]
fn chip_and_memory_stand_for_all_bins() {
    for spec in
        ["m1max/32", "M1 Max 32GB", "m1max 32GB", "MacBook Pro M1 Max 32GB", "Apple M1 Max, 32 GB"]
    {
        assert_eq!(bins(spec), ["m1max-24", "m1max-32"], "{spec}");
        assert_eq!(id(spec), "m1max/32", "{spec}");
    }
    assert_eq!(bins("M2 Ultra 64GB"), ["m2ultra-60", "m2ultra-76"]);
    assert_eq!(bins("M3 Ultra 256GB"), ["m3ultra-60", "m3ultra-80"]);
    assert_eq!(bins("m1pro/16"), ["m1pro-14", "m1pro-16"]);
    assert_eq!(bins("M4 16GB"), ["m4-8", "m4-10"]);
    assert_eq!(bins("MacBook Pro M5 Pro 48GB"), ["m5pro-16", "m5pro-20"]);
    // One model identifier, two bins with the same memory.
    assert_eq!(bins("Mac14,2/16"), ["m2-8", "m2-10"]);
    let machine = named("M1 Max 32GB").unwrap();
    assert_eq!(machine.name, "Apple M1 Max (24- or 32-core GPU), 32 GB");
    let summary = machine.summary();
    assert_eq!((summary.chip, summary.gpu_cores, summary.bandwidth_gbs), (None, None, None));
    // A single bin with that memory is that bin.
    assert!(bins("M1 Max 64GB").len() == 2 && bins("m4max/64").is_empty());
}

#[test]
fn memory_and_limits_are_the_same_for_all_bins() {
    for chip in CATALOG.chips().unwrap() {
        for gib in &chip.memory_gib {
            let machine = named(&format!("{}/{gib}", chip.family_id())).unwrap();
            for bin in machine.possible_bins() {
                assert_eq!(bin.memory.value, machine.memory.value, "{}", machine.id);
                assert_eq!(bin.gpu_limit.bytes, machine.gpu_limit.bytes, "{}", machine.id);
                assert_eq!(bin.arch_class(), machine.arch_class(), "{}", machine.id);
                assert_eq!(bin.matrix_units.value, machine.matrix_units.value, "{}", machine.id);
            }
        }
    }
}

#[test]
fn several_chips_list_what_to_write() {
    let all = named("MacBook Pro 32GB").unwrap_err();
    assert!(matches!(all, SpecError::Ambiguous { .. }), "{all}");
    let all = named("Mac Studio").unwrap_err();
    assert!(all.to_string().contains(" and "), "{all}");
}

#[test]
fn memory_that_was_not_sold_lists_what_was() {
    assert_eq!(
        message("m4max-40/96"),
        "Apple M4 Max (40-core GPU) was not sold with 96 GB; choose from m4max-40/48, m4max-40/64, m4max-40/128, or \
         describe the machine with --bandwidth, --gpu-cores and --memory"
    );
    assert!(message("M3 36GB").starts_with("Apple M3 was not sold with 36 GB; choose from m3-8/8"));
    assert!(message("m4max-40/0").starts_with("Apple M4 Max (40-core GPU) was not sold with 0 GB"));
}

#[test]
fn typos_get_suggestions() {
    assert_eq!(
        message("m4mx-40/128"),
        "\"m4mx-40/128\" is not a Mac that mlxplan knows (what is \"m4mx\"?); did you mean m4max-40/128, m4max/128, m3max-40/128?"
    );
    assert!(message("stduio-m4max-40-2025/64").contains("did you mean studio-m4max-40-2025/64"));
    assert_eq!(
        message("pentium"),
        "\"pentium\" is not a Mac that mlxplan knows; `mlxplan macs` lists them, and --bandwidth, --gpu-cores and \
         --memory describe any other"
    );
    assert!(
        message("M4 Max 64-core 128GB")
            .starts_with("no Mac was made that is \"M4 Max 64-core 128GB\"")
    );
    assert!(message("M4 Ultra 512GB").starts_with("no Mac was made that is \"M4 Ultra 512GB\""));
    assert!(message("MacBook Air M4 Max 64GB").starts_with("no Mac was made"));
}

#[test]
fn nothing_and_too_much_are_errors() {
    assert!(matches!(named(""), Err(SpecError::Empty)));
    assert!(matches!(named(" /-, "), Err(SpecError::Empty)));
    assert!(matches!(named(&"m".repeat(300)), Err(SpecError::TooLong)));
}

#[test]
fn this_is_the_machine_at_hand() {
    let other = named("m4-10/16").unwrap();
    let found = resolve_with(" This ", &CATALOG, || Ok(other.clone())).unwrap();
    assert_eq!(found, other);
    assert!(matches!(named("this"), Err(SpecError::This(_))));
}

#[test]
fn an_unbinned_product_says_that_there_is_another_bin() {
    let air = named("air13-m2-2022/16").unwrap();
    assert_eq!(air.chip.as_deref(), Some("m2-8"));
    assert_eq!(
        air.notes,
        ["MacBook Air 13\" (2022) was also sold with another bin; for that one write m2-10/16"]
    );
    assert!(named("air15-m2-2023/16").unwrap().notes.is_empty());
}

/// All complete specifications of the catalog, with the machine they mean.
fn all_specs() -> Vec<(String, String, Option<String>)> {
    let mut specs = Vec::new();
    for chip in CATALOG.chips().unwrap() {
        for gib in &chip.memory_gib {
            specs.push((format!("{}/{gib}", chip.id), format!("{}/{gib}", chip.id), None));
        }
    }
    for mac in CATALOG.macs().unwrap() {
        for config in &mac.configs {
            let gib = config.memory_gib;
            let spec = format!("{}/{gib}", mac.id);
            specs.push((spec, format!("{}/{gib}", mac.chip), Some(mac.id.clone())));
        }
    }
    specs
}

#[test]
fn every_bin_and_configuration_resolves_to_itself() {
    for (spec, expected, mac) in all_specs() {
        let machine = named(&spec).unwrap_or_else(|e| panic!("{spec}: {e}"));
        assert_eq!(machine.id, expected, "{spec}");
        assert_eq!(machine.mac.map(|found| found.id), mac, "{spec}");
    }
}

#[test]
fn every_name_resolves_to_its_machine() {
    for chip in CATALOG.chips().unwrap() {
        for gib in &chip.memory_gib {
            let machine = named(&format!("{}/{gib}", chip.id)).unwrap();
            // "Apple A18 Pro (5-core GPU, MacBook Neo)" names its product as well.
            assert_eq!(id(&machine.name), machine.id, "{}", machine.name);
        }
    }
}

proptest! {
    #[test]
    fn case_and_separators_do_not_matter(
        index in any::<prop::sample::Index>(),
        separators in prop::collection::vec(prop::sample::select(vec!["-", "_", " ", ".", ""]), 8),
        upper in any::<bool>(),
    ) {
        let specs = all_specs();
        let (spec, expected, _) = index.get(&specs);
        let (head, memory) = spec.split_once('/').unwrap();
        let mut written = String::new();
        for (part, separator) in head.split('-').zip(separators.iter().cycle()) {
            written += part;
            written += separator;
        }
        let written = format!("{}/{memory}", if upper { written.to_uppercase() } else { written });
        prop_assert_eq!(&named(&written).map(|machine| machine.id).unwrap(), expected, "{}", written);
    }

    #[test]
    fn no_text_panics_and_every_choice_resolves(text in ".{0,60}") {
        check_choices(&text)?;
    }

    #[test]
    fn no_combination_of_words_panics_and_every_choice_resolves(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "m4", "m4max", "M1", "pro", "max", "ultra", "macbook", "mac", "studio", "air", "mini", "imac", "16",
                "40", "128", "2025", "64gb", "8gb", "512 GB", "40-core", "10-core", "cpu", "gpu", "Mac16,9", "Mac14,2",
                "/", "14-inch", "1tb", "ssd", "x", "",
            ]),
            0..6,
        ),
    ) {
        check_choices(&words.join(" "))?;
    }
}

fn check_choices(text: &str) -> Result<(), TestCaseError> {
    if let Err(error) = named(text) {
        let _ = error.to_string();
        for choice in error.choices() {
            prop_assert!(named(choice).is_ok(), "{}: {}", text, choice);
        }
    }
    Ok(())
}
