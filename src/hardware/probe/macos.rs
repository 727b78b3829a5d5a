//! Gathers readings on macOS: `sysctl`, IORegistry, Metal, power and thermal state. Everything is read natively, as an
//! ordinary user, except the power mode (`pmset`, a few milliseconds) and, when the native path fails,
//! `system_profiler` (a few hundred). Nothing is concluded here, because this file cannot be tested elsewhere.

use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::time::Duration;

use objc2::runtime::NSObjectProtocol;
use objc2::sel;
use objc2_core_foundation::{
    CFArray, CFData, CFDictionary, CFNumber, CFRetained, CFString, CFType,
};
use objc2_foundation::NSProcessInfo;
use objc2_io_kit::{
    IOIteratorNext, IOObjectGetClass, IOObjectRelease, IOPSCopyPowerSourcesInfo,
    IOPSCopyPowerSourcesList, IOPSGetPowerSourceDescription, IOPSGetProvidingPowerSourceType,
    IORegistryEntryCreateCFProperty, IORegistryEntryGetName, IOServiceGetMatchingServices,
    IOServiceMatching, io_iterator_t, io_object_t, kIOMainPortDefault,
};
use objc2_metal::{MTLCreateSystemDefaultDevice, MTLDevice};

use super::readings::{MetalReading, Platform, Readings, SysctlValue};
use super::{command, parse};
use crate::units::Bytes;

// Metal's default device is found only in programs that link CoreGraphics.
#[link(name = "CoreGraphics", kind = "framework")]
unsafe extern "C" {}

const PMSET_TIMEOUT: Duration = Duration::from_secs(2);
const PROFILER_TIMEOUT: Duration = Duration::from_secs(10);

const STRINGS: [&str; 4] =
    ["machdep.cpu.brand_string", "hw.model", "kern.osproductversion", "kern.osversion"];
const INTEGERS: [&str; 10] = [
    "hw.memsize",
    "hw.physicalcpu",
    "iogpu.wired_limit_mb",
    "iogpu.wired_lwm_mb",
    "iogpu.dynamic_lwm",
    "iogpu.rsrc_limit",
    "kern.memorystatus_vm_pressure_level",
    "kern.memorystatus_level",
    "kern.hv_vmm_present",
    "sysctl.proc_translated",
];

/// Reads this Mac.
pub(super) fn read() -> Readings {
    let mut readings = Readings { platform: Platform::Macos, ..Readings::default() };
    sysctls(&mut readings);
    registry(&mut readings);
    readings.metal = metal();
    if readings.metal.is_none() {
        readings.failures.push("Metal has no device".to_owned());
    }
    power(&mut readings);
    let virtual_machine = readings.int("kern.hv_vmm_present").unwrap_or(0) != 0;
    let native = readings.text("machdep.cpu.brand_string").is_some()
        && readings.int("hw.memsize").is_some()
        && (readings.gpu_core_count.is_some() || virtual_machine);
    if !native {
        profiler(&mut readings);
    }
    readings
}

fn sysctls(readings: &mut Readings) {
    for key in STRINGS {
        if let Some(text) = sysctl_text(key) {
            readings.sysctl.insert(key.to_owned(), SysctlValue::Text(text));
        }
    }
    let mut integer = |key: &str| {
        let value = sysctl_int(key)?;
        readings.sysctl.insert(key.to_owned(), SysctlValue::Int(value));
        Some(value)
    };
    for key in INTEGERS {
        integer(key);
    }
    let levels = integer("hw.nperflevels").unwrap_or(0).min(16);
    for level in 0..levels {
        for name in ["physicalcpu", "logicalcpu", "l2cachesize"] {
            integer(&format!("hw.perflevel{level}.{name}"));
        }
    }
    for level in 0..levels {
        let key = format!("hw.perflevel{level}.name");
        if let Some(text) = sysctl_text(&key) {
            readings.sysctl.insert(key, SysctlValue::Text(text));
        }
    }
    readings.swap = sysctl("vm.swapusage").as_deref().and_then(parse::swap_usage);
}

/// The raw value of a key.
fn sysctl(key: &str) -> Option<Vec<u8>> {
    let name = CString::new(key).ok()?;
    let mut size = 0;
    // SAFETY: the name ends in NUL; a null buffer asks for the size only.
    let asked = unsafe {
        libc::sysctlbyname(name.as_ptr(), ptr::null_mut(), &raw mut size, ptr::null_mut(), 0)
    };
    if asked != 0 || size == 0 || size > 1 << 16 {
        return None;
    }
    let mut value = vec![0_u8; size];
    // SAFETY: the buffer has `size` bytes, and the kernel writes no more than that.
    let read = unsafe {
        libc::sysctlbyname(
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            &raw mut size,
            ptr::null_mut(),
            0,
        )
    };
    if read != 0 {
        return None;
    }
    value.truncate(size);
    Some(value)
}

fn sysctl_text(key: &str) -> Option<String> {
    let value = sysctl(key)?;
    let text = value.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

fn sysctl_int(key: &str) -> Option<u64> {
    let value = sysctl(key)?;
    match value.len() {
        4 => u64::try_from(i32::from_ne_bytes(value.try_into().ok()?)).ok(),
        8 => u64::try_from(i64::from_ne_bytes(value.try_into().ok()?)).ok(),
        _ => None,
    }
}

fn registry(readings: &mut Readings) {
    for service in services(c"AGXAccelerator") {
        if let Some(cores) = service.property("gpu-core-count").and_then(integer) {
            readings.gpu_core_count = Some(cores);
            readings.gpu_class = service.class();
        }
    }
    // M1 to M5 keep the tables in "pmgr"; M6 in "pmgr-child", beside an empty "pmgr".
    for service in services(c"AppleARMIODevice") {
        if readings.gpu_dvfs.is_none()
            && matches!(service.name().as_deref(), Some("pmgr" | "pmgr-child"))
        {
            let table = service.property("voltage-states9");
            readings.gpu_dvfs =
                table.and_then(|table| Some(table.downcast::<CFData>().ok()?.to_vec()));
        }
    }
    if readings.gpu_core_count.is_none() {
        readings.failures.push("IORegistry has no gpu-core-count".to_owned());
    }
}

/// An object of the IORegistry, released when dropped.
struct Service(io_object_t);

impl Drop for Service {
    fn drop(&mut self) {
        IOObjectRelease(self.0);
    }
}

impl Service {
    fn property(&self, key: &'static str) -> Option<CFRetained<CFType>> {
        let key = CFString::from_static_str(key);
        // SAFETY: the object is alive, the key is a string, and no allocator means the default one.
        unsafe { IORegistryEntryCreateCFProperty(self.0, Some(&key), None, 0) }
    }

    fn name(&self) -> Option<String> {
        // SAFETY: the buffer is what `io_name_t` points to, and the object is alive.
        text(|buffer| unsafe { IORegistryEntryGetName(self.0, buffer) })
    }

    fn class(&self) -> Option<String> {
        // SAFETY: as in `name`.
        text(|buffer| unsafe { IOObjectGetClass(self.0, buffer) })
    }
}

/// Runs a function that fills an `io_name_t`.
fn text(fill: impl FnOnce(*mut [c_char; 128]) -> libc::kern_return_t) -> Option<String> {
    let mut buffer: [c_char; 128] = [0; 128];
    if fill(&raw mut buffer) != libc::KERN_SUCCESS {
        return None;
    }
    let bytes = buffer.map(|c| c.to_ne_bytes()[0]);
    Some(CStr::from_bytes_until_nul(&bytes).ok()?.to_string_lossy().into_owned())
}

/// All registered objects of a class.
fn services(class: &CStr) -> Vec<Service> {
    let mut iterator: io_iterator_t = 0;
    // SAFETY: the class name ends in NUL; the matching dictionary is consumed; the iterator is written on success only.
    let status = unsafe {
        let Some(matching) = IOServiceMatching(class.as_ptr()) else {
            return Vec::new();
        };
        let matching: CFRetained<CFDictionary> =
            CFRetained::from_raw(CFRetained::into_raw(matching).cast());
        IOServiceGetMatchingServices(kIOMainPortDefault, Some(matching), &raw mut iterator)
    };
    if status != libc::KERN_SUCCESS || iterator == 0 {
        return Vec::new();
    }
    let iterator = Service(iterator);
    let next = || Some(IOIteratorNext(iterator.0)).filter(|object| *object != 0).map(Service);
    std::iter::from_fn(next).take(4096).collect()
}

fn integer(value: CFRetained<CFType>) -> Option<u64> {
    let number = value.downcast::<CFNumber>().ok()?.as_i64()?;
    u64::try_from(number).ok()
}

fn metal() -> Option<MetalReading> {
    let device = MTLCreateSystemDefaultDevice()?;
    // `architecture` came with macOS 14; asking an older system for it would end the process.
    let architecture = device
        .respondsToSelector(sel!(architecture))
        .then(|| device.architecture().name().to_string());
    Some(MetalReading {
        name: Some(device.name().to_string()),
        architecture,
        recommended_max_working_set: Some(Bytes(device.recommendedMaxWorkingSetSize())),
        max_buffer_length: u64::try_from(device.maxBufferLength()).ok().map(Bytes),
    })
}

fn power(readings: &mut Readings) {
    let process = NSProcessInfo::processInfo();
    readings.low_power_mode = Some(process.isLowPowerModeEnabled());
    readings.thermal_state = u64::try_from(process.thermalState().0).ok();
    match command::output("/usr/bin/pmset", &["-g"], PMSET_TIMEOUT) {
        Ok(output) => readings.pmset = Some(String::from_utf8_lossy(&output).into_owned()),
        Err(why) => readings.failures.push(why),
    }
    let Some(info) = IOPSCopyPowerSourcesInfo() else {
        return;
    };
    // SAFETY: `info` is the snapshot that these functions document as their argument.
    let source = unsafe { IOPSGetProvidingPowerSourceType(Some(&info)) };
    readings.power_source = source.map(|source| source.to_string());
    readings.battery_percent = battery_percent(&info);
}

/// Charge of the internal battery.
fn battery_percent(info: &CFType) -> Option<u64> {
    // SAFETY: `info` is a snapshot of the power sources, and the list is of objects for the next call.
    let list: CFRetained<CFArray<CFType>> = unsafe {
        let list = IOPSCopyPowerSourcesList(Some(info))?;
        CFRetained::from_raw(CFRetained::into_raw(list).cast())
    };
    list.to_vec().iter().find_map(|source| {
        // SAFETY: the source is from the list of this snapshot; descriptions map strings to property-list objects.
        let description: CFRetained<CFDictionary<CFString, CFType>> = unsafe {
            let description = IOPSGetPowerSourceDescription(Some(info), Some(source))?;
            CFRetained::from_raw(CFRetained::into_raw(description).cast())
        };
        let value = |key: &'static str| description.get(&CFString::from_static_str(key));
        let kind = value("Type")?.downcast::<CFString>().ok()?.to_string();
        if kind != "InternalBattery" {
            return None;
        }
        let current = integer(value("Current Capacity")?)?;
        let full = integer(value("Max Capacity")?)?;
        current.checked_mul(100)?.checked_div(full)
    })
}

fn profiler(readings: &mut Readings) {
    let sections = ["SPHardwareDataType", "SPDisplaysDataType", "-json"];
    let report = command::output("/usr/sbin/system_profiler", &sections, PROFILER_TIMEOUT)
        .and_then(|output| parse::system_profiler(&output));
    match report {
        Ok(report) => readings.profiler = Some(report),
        Err(why) => readings.failures.push(format!("system_profiler: {why}")),
    }
}
