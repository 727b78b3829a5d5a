//! Recorded and synthesised readings of Macs, replayed: every bin of the catalog must be recognized.

use mlxplan::hardware::probe::{Probe, ProbeError, dump, interpret};
use mlxplan::hardware::{Chip, Macs, Provenance, Tier};
use mlxplan::units::{Bytes, GIB};

fn recorded(name: &str) -> Probe {
    let path = format!("{}/tests/fixtures/probe/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    interpret(&dump::parse(&text), &Macs::embedded()).unwrap()
}

fn tiers(probe: &Probe) -> Vec<(Option<&str>, u32)> {
    probe.core_tiers.iter().map(|tier| (tier.name.as_deref(), tier.cores)).collect()
}

#[test]
fn recorded_macs_are_recognized() {
    // (recording, bin, GPU cores, memory in GiB, product)
    let expected = [
        ("a18pro-5-8gb", "a18pro-5", 5, 8, None),
        ("m2pro-19-16gb", "m2pro-19", 19, 16, Some("mbp16-m2pro-2023")),
        ("m2max-30-32gb", "m2max-30", 30, 32, Some("studio-m2max-30-2023")),
        ("m2max-38-64gb", "m2max-38", 38, 64, None),
        ("m3max-30-36gb", "m3max-30", 30, 36, None),
        ("m3ultra-60-96gb", "m3ultra-60", 60, 96, None),
        ("m4-10-16gb", "m4-10", 10, 16, Some("air13-m4-10-2025")),
        ("m4max-32-36gb", "m4max-32", 32, 36, None),
        ("m4pro-20-64gb", "m4pro-20", 20, 64, None),
        ("m5-10-24gb", "m5-10", 10, 24, Some("mbp14-m5-2025")),
        ("m5max-40-128gb-raised-limit", "m5max-40", 40, 128, None),
        // The GPU cores were not recorded, but the memory leaves one bin.
        ("m5max-128gb", "m5max-40", 40, 128, Some("mbp16-m5max-40-2026")),
        ("m6-32gb", "m6-12", 12, 32, None),
    ];
    for (name, chip, gpu_cores, gib, mac) in expected {
        let probe = recorded(name);
        assert_eq!(probe.chip.as_deref(), Some(chip), "{name}: {:?}", probe.notes);
        assert_eq!(probe.gpu_cores, Some(gpu_cores), "{name}");
        assert_eq!(probe.memory_bytes, Some(Bytes::from_gib(gib)), "{name}");
        assert_eq!(probe.mac.as_ref().map(|mac| mac.id.as_str()), mac, "{name}");
        assert_ne!(probe.virtual_machine, Some(true), "{name}");
        let machine = probe.machine(&Macs::embedded()).unwrap();
        assert_eq!(machine.id, format!("{chip}/{gib}"), "{name}");
        assert!(matches!(machine.memory.provenance, Provenance::Measured { .. }), "{name}");
    }
}

#[test]
fn recorded_cores_come_in_two_or_three_tiers() {
    let (s, p, e) = (Some("Super"), Some("Performance"), Some("Efficiency"));
    assert_eq!(tiers(&recorded("a18pro-5-8gb")), [(p, 2), (e, 4)]);
    assert_eq!(tiers(&recorded("m2pro-19-16gb")), [(p, 8), (e, 4)]);
    assert_eq!(tiers(&recorded("m5-10-24gb")), [(s, 4), (e, 6)]);
    assert_eq!(tiers(&recorded("m5max-128gb")), [(s, 6), (p, 12)]);
    assert_eq!(tiers(&recorded("m6-32gb")), [(s, 2), (p, 4), (e, 6)]);
    assert_eq!(recorded("m6-32gb").cpu_cores, Some(12));
}

#[test]
fn recorded_limits_are_taken_from_metal_or_predicted_by_release() {
    let limit = |name| recorded(name).gpu_limit.unwrap();
    // mx.device_info() on an M4 Pro 48 GB; the largest buffer is its own reading.
    let stock = limit("m4pro-48gb-device-info");
    assert_eq!((stock.bytes, stock.max_buffer()), (Bytes(40_200_896_512), Bytes(30_150_672_384)));
    // A raised limit: 124518 MiB, while the largest buffer stays at three quarters of the default.
    let probe = recorded("m5max-40-128gb-raised-limit");
    let raised = probe.gpu_limit.as_ref().unwrap();
    assert_eq!((raised.bytes, raised.wired_limit_mib), (Bytes(130_566_586_368), Some(124_518)));
    assert_eq!(probe.max_buffer_bytes, Some(raised.max_buffer()));
    // Without Metal, the release decides between the rule sets: 26.6.2, 27.0 and none.
    assert_eq!(limit("m5-10-24gb").range, [Bytes(19_069_665_280); 2]);
    assert_eq!(limit("m3max-30-36gb").range, [Bytes(30_150_672_384); 2]);
    assert_eq!(limit("m4max-32-36gb").range, [Bytes(28_991_029_248), Bytes(30_150_672_384)]);
}

#[test]
fn a_release_between_the_rule_sets_gives_a_range() {
    let limit = |macos: &str, gib: u64| {
        let memory = gib * GIB;
        let text = format!(
            "machdep.cpu.brand_string: Apple M4\nhw.memsize: {memory}\nkern.osproductversion: {macos}\n"
        );
        interpret(&dump::parse(&text), &Macs::embedded()).unwrap().gpu_limit.unwrap().range
    };
    let (older, newer) = (Bytes(11_453_251_584), Bytes(12_713_115_648));
    assert_eq!(limit("15.7.5", 16), [older; 2]);
    assert_eq!(limit("26.0.1", 16), [older, newer]);
    assert_eq!(limit("26.1", 16), [newer; 2]);
}

#[test]
fn matrix_units_need_a_recent_macos_and_chip() {
    let usable = |name| recorded(name).matrix_units_usable;
    assert_eq!(usable("m6-32gb"), Some(true)); // 27.0.1
    assert_eq!(usable("m5-10-24gb"), Some(true)); // 26.6.2
    assert_eq!(usable("m5max-40-128gb-raised-limit"), None); // release not recorded
    assert_eq!(usable("m3max-30-36gb"), Some(false));
    assert_eq!(usable("a18pro-5-8gb"), Some(false)); // generation 17, but class p
}

#[test]
fn a_bin_that_cannot_be_told_is_not_guessed() {
    let probe = recorded("m2ultra-64gb"); // 60 and 76 GPU cores are both sold with 64 GB
    assert_eq!((probe.chip.as_deref(), probe.gpu_cores), (None, None));
    assert_eq!((probe.generation, probe.tier), (Some(2), Some(Tier::Ultra)));
    let error = probe.machine(&Macs::embedded()).unwrap_err().to_string();
    assert!(error.starts_with("Apple M2 Ultra and 64 GB is not in the catalog"), "{error}");
    assert!(matches!(
        probe.machine_with_bandwidth(&Macs::embedded(), 800.0),
        Err(ProbeError::Incomplete("the number of GPU cores"))
    ));
}

#[test]
fn a_registry_alone_tells_chip_and_cores() {
    let probe = recorded("m3pro-14-ioreg");
    assert_eq!((probe.brand.as_deref(), probe.gpu_cores), (Some("Apple M3 Pro"), Some(14)));
    assert!(matches!(probe.machine(&Macs::embedded()), Err(ProbeError::Incomplete("the memory"))));
}

#[test]
fn a_virtual_machine_is_never_a_bin() {
    let probe = recorded("vm-github-m1");
    assert_eq!(probe.virtual_machine, Some(true));
    assert_eq!((probe.brand.as_deref(), probe.chip), (Some("Apple M1"), None));
    let probe = recorded("vm-github-m1");
    assert!(matches!(
        probe.machine(&Macs::embedded()),
        Err(ProbeError::VirtualMachine(brand)) if brand == "Apple M1"
    ));
    // Each sign alone is enough, also under Parallels, which keeps the host's chip in the brand string.
    for sign in [
        "machdep.cpu.brand_string: Apple M5 Pro (Virtual)",
        "machdep.cpu.brand_string: Apple M4\nhw.model: VirtualMac2,1",
        "machdep.cpu.brand_string: Apple M4\nkern.hv_vmm_present: 1",
    ] {
        let text = format!("{sign}\nhw.memsize: 17179869184\n\"gpu-core-count\" = 10\n");
        let probe = interpret(&dump::parse(&text), &Macs::embedded()).unwrap();
        assert_eq!((probe.virtual_machine, probe.chip), (Some(true), None), "{sign}");
    }
}

#[test]
fn a_future_chip_is_described_and_can_be_planned_for_with_its_bandwidth() {
    let text = "machdep.cpu.brand_string: Apple M7 Max\nhw.model: Mac19,4\nhw.memsize: 103079215104\nhw.nperflevels: 3\n\
                hw.perflevel0.physicalcpu: 4\nhw.perflevel1.physicalcpu: 10\nhw.perflevel2.physicalcpu: 4\n\
                \"gpu-core-count\" = 44\nkern.osproductversion: 28.1\n\"voltage-states9\" = <0000000000000000\
                00a3e11100000000>\n{'device_name': 'Apple M7 Max', 'architecture': 'applegpu_g19s', \
                'max_recommended_working_set_size': 83494174720, 'max_buffer_length': 62620631040}\n";
    let catalog = Macs::embedded();
    let probe = interpret(&dump::parse(text), &catalog).unwrap();
    assert_eq!(
        (probe.generation, probe.tier, probe.chip.as_deref()),
        (Some(7), Some(Tier::Max), None)
    );
    assert_eq!(
        (probe.gpu_cores, probe.gpu_clock_mhz, probe.cpu_cores),
        (Some(44), Some(300), Some(18))
    );
    assert_eq!(probe.matrix_units_usable, Some(true));
    assert!(
        probe.notes.contains(&"Apple M7 Max is not in the catalog".to_owned()),
        "{:?}",
        probe.notes
    );
    let error = probe.machine(&catalog).unwrap_err().to_string();
    assert!(error.contains("Apple M7 Max with 44 GPU cores and 96 GB"), "{error}");

    let machine = probe.machine_with_bandwidth(&catalog, 900.0).unwrap();
    assert_eq!(machine.name, "Apple M7 Max (44-core GPU), 96 GB");
    assert_eq!((machine.generation.value, machine.tier.value), (7, Tier::Max));
    assert_eq!(machine.gpu_clock_mhz.value, 300);
    assert_eq!(machine.metal_arch.value, "applegpu_g19s");
    assert_eq!(machine.gpu_limit.bytes, Bytes(83_494_174_720));
    assert_eq!(machine.bandwidth.provenance, Provenance::UserGiven);
}

#[test]
fn an_intel_mac_is_said_to_be_one() {
    let text = "machdep.cpu.brand_string: Intel(R) Core(TM) i9-9980HK CPU @ 2.40GHz\nhw.memsize: 34359738368\n";
    let catalog = Macs::embedded();
    let probe = interpret(&dump::parse(text), &catalog).unwrap();
    assert!(!probe.apple_silicon && probe.gpu_limit.is_none());
    assert!(matches!(probe.machine(&catalog), Err(ProbeError::NotAppleSilicon(_))));
}

#[test]
fn readings_that_say_nothing_are_an_error() {
    let error = interpret(&dump::parse("no such thing"), &Macs::embedded()).unwrap_err();
    assert!(matches!(error, ProbeError::Unreadable(_)));
}

/// Readings of a chip in the documented key formats, synthesised from the catalog.
fn synthesised(chip: &Chip, gib: u64, model: Option<&str>) -> String {
    let levels = [
        ("Super", chip.cpu_super_cores),
        ("Performance", chip.cpu_p_cores),
        ("Efficiency", chip.cpu_e_cores),
    ];
    let levels: Vec<_> = levels.into_iter().filter(|(_, cores)| *cores > 0).collect();
    let dvfs: String = [0, chip.gpu_clock_mhz / 2, chip.gpu_clock_mhz]
        .iter()
        .flat_map(|mhz| [(mhz * 1_000_000).to_le_bytes(), 700_u32.to_le_bytes()])
        .flatten()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut text = format!(
        "machdep.cpu.brand_string: {}\nhw.memsize: {}\nhw.nperflevels: {}\nkern.hv_vmm_present: 0\n\
         kern.osproductversion: 26.5\n\"gpu-core-count\" = {}\n\"voltage-states9\" = <{dvfs}>\n",
        chip.brand_string,
        gib * GIB,
        levels.len(),
        chip.gpu_cores,
    );
    for (level, (name, cores)) in levels.iter().enumerate() {
        text += &format!(
            "hw.perflevel{level}.name: {name}\nhw.perflevel{level}.physicalcpu: {cores}\n"
        );
    }
    if let Some(model) = model {
        text += &format!("hw.model: {model}\n");
    }
    text
}

#[test]
fn every_bin_with_every_memory_is_recognized_synthesised() {
    let catalog = Macs::embedded();
    for chip in catalog.chips().unwrap() {
        for &gib in &chip.memory_gib {
            let probe = interpret(&dump::parse(&synthesised(chip, gib, None)), &catalog).unwrap();
            let id = format!("{}/{gib}", chip.id);
            assert_eq!(probe.chip.as_ref(), Some(&chip.id), "{id}");
            assert_eq!(probe.gpu_clock_mhz, Some(chip.gpu_clock_mhz), "{id}");
            assert_eq!(probe.bandwidth_gbs, Some(chip.bandwidth(gib).gbs()), "{id}");
            let cores = chip.cpu_super_cores + chip.cpu_p_cores + chip.cpu_e_cores;
            assert_eq!(probe.cpu_cores, Some(cores), "{id}");
            assert_eq!(probe.matrix_units_usable, Some(chip.matrix_units), "{id}");
            assert_eq!(probe.machine(&catalog).unwrap().id, id);
        }
    }
}

#[test]
fn every_mac_is_recognized_by_model_bin_and_memory_synthesised() {
    let catalog = Macs::embedded();
    for mac in catalog.macs().unwrap() {
        let chip = catalog.chip(&mac.chip).unwrap().unwrap();
        for model in &mac.hw_model {
            let gib = mac.configs[0].memory_gib;
            let probe =
                interpret(&dump::parse(&synthesised(chip, gib, Some(model))), &catalog).unwrap();
            assert_eq!(probe.fanless, Some(mac.fanless), "{}", mac.id);
            assert_eq!(probe.mac.map(|found| found.id).as_ref(), Some(&mac.id));
        }
    }
}

#[test]
fn json_has_integer_bytes_and_null_for_what_is_unknown() {
    let json = serde_json::to_value(recorded("m5-10-24gb")).unwrap();
    assert_eq!(json["memory_bytes"], 25_769_803_776_u64);
    assert_eq!(json["gpu_limit_bytes"], 19_069_665_280_u64);
    assert_eq!(json["gpu_limit_range_bytes"][0], 19_069_665_280_u64);
    assert_eq!(json["tier"], "base");
    assert!(json["thermal_state"].is_null() && json["metal_arch"] == "applegpu_g17g");
    assert_eq!(json["sources"]["memory_bytes"], "sysctl hw.memsize");
    assert_eq!(json["sources"]["metal_arch"], "chips.toml m5-10 metal_arch");
    let intel = interpret(
        &dump::parse("machdep.cpu.brand_string: Intel(R) Xeon(R)\nhw.memsize: 1024\n"),
        &Macs::embedded(),
    );
    assert!(serde_json::to_value(intel.unwrap()).unwrap()["gpu_limit_bytes"].is_null());
}

#[test]
fn readings_survive_a_round_trip_through_json() {
    let readings = dump::parse("hw.memsize: 1\nhw.model: Mac16,9\n\"gpu-core-count\" = 40\n");
    let json = serde_json::to_string(&readings).unwrap();
    assert_eq!(
        serde_json::from_str::<mlxplan::hardware::probe::Readings>(&json).unwrap(),
        readings
    );
}
