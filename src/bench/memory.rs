//! Memory by the name of its metric. Figures of different metrics are never compared or added.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// Time between two readings while requests are running.
const SAMPLING: Duration = Duration::from_millis(100);

/// Memory at one moment, in bytes. What could not be read is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct MemoryReading {
    /// macOS: physical footprint of the server and its child processes, GPU memory included (what Activity Monitor
    /// shows).
    pub footprint_bytes: Option<u64>,
    /// Resident set of the server and its child processes. Contains mapped weight files as far as they were touched,
    /// and on macOS not all GPU memory.
    pub resident_bytes: Option<u64>,
    /// Processes counted.
    pub processes: Option<u32>,
    /// MLX: bytes of live arrays.
    pub mlx_active_bytes: Option<u64>,
    /// MLX: bytes of freed buffers kept for reuse.
    pub mlx_cache_bytes: Option<u64>,
    /// MLX: highest value of active memory.
    pub mlx_peak_bytes: Option<u64>,
}

impl MemoryReading {
    /// The larger value of each metric.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            footprint_bytes: self.footprint_bytes.max(other.footprint_bytes),
            resident_bytes: self.resident_bytes.max(other.resident_bytes),
            processes: self.processes.max(other.processes),
            mlx_active_bytes: self.mlx_active_bytes.max(other.mlx_active_bytes),
            mlx_cache_bytes: self.mlx_cache_bytes.max(other.mlx_cache_bytes),
            mlx_peak_bytes: self.mlx_peak_bytes.max(other.mlx_peak_bytes),
        }
    }
}

/// A process with all its children.
#[derive(Debug)]
pub struct ServerProcess {
    root: Root,
    system: Mutex<System>,
}

/// How the process is found.
#[derive(Clone, Copy, Debug)]
enum Root {
    /// By the TCP port that it listens on.
    Port(u16),
    /// It is this one.
    #[cfg_attr(not(mlx), allow(dead_code, reason = "engines in this process need MLX"))]
    Own,
}

impl ServerProcess {
    /// The process that listens on a port of this machine; it may start and end later.
    #[must_use]
    pub fn on_port(port: u16) -> Self {
        Self { root: Root::Port(port), system: Mutex::new(System::new()) }
    }

    /// This process.
    #[cfg(mlx)]
    #[must_use]
    pub fn own() -> Self {
        Self { root: Root::Own, system: Mutex::new(System::new()) }
    }

    /// Memory now; `None` when no process listens, or when it belongs to somebody else and cannot be seen.
    #[must_use]
    pub fn read(&self) -> Option<MemoryReading> {
        let root = match self.root {
            Root::Port(port) => listener(port)?,
            Root::Own => Pid::from_u32(std::process::id()),
        };
        let mut system = self.system.lock().ok()?;
        let family = family(&mut system, root);
        let sum = |of: &dyn Fn(Pid) -> Option<u64>| -> Option<u64> {
            let parts: Vec<u64> = family.iter().filter_map(|&pid| of(pid)).collect();
            (!parts.is_empty()).then(|| parts.iter().sum())
        };
        let resident = |pid: Pid| system.process(pid).map(sysinfo::Process::memory);
        Some(MemoryReading {
            footprint_bytes: sum(&|pid| footprint(pid.as_u32())),
            resident_bytes: sum(&resident),
            processes: u32::try_from(family.len()).ok(),
            ..MemoryReading::default()
        })
    }
}

/// The process that listens on a TCP port.
fn listener(port: u16) -> Option<Pid> {
    let all = listeners::get_all().ok()?;
    let mine = |l: &&listeners::Listener| {
        l.socket.port() == port
            && l.protocol == listeners::Protocol::TCP
            && l.state == listeners::SocketState::Listen
    };
    all.iter().find(mine).map(|l| Pid::from_u32(l.process.pid))
}

/// A process and all its descendants.
fn family(system: &mut System, root: Pid) -> Vec<Pid> {
    let kind = ProcessRefreshKind::nothing().with_memory().without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
    let mut family = vec![root];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        let children = system.processes().values().filter(|p| p.parent() == Some(parent));
        let children: Vec<Pid> =
            children.map(sysinfo::Process::pid).filter(|p| !family.contains(p)).collect();
        family.extend(children);
        next += 1;
    }
    family
}

/// Ends a process and all its descendants.
pub(super) fn end_family(root: u32) {
    let mut system = System::new();
    for pid in family(&mut system, Pid::from_u32(root)).iter().rev() {
        if let Some(process) = system.process(*pid) {
            process.kill();
        }
    }
}

/// Physical footprint of a process in bytes.
#[cfg(target_os = "macos")]
fn footprint(pid: u32) -> Option<u64> {
    let pid = libc::c_int::try_from(pid).ok()?;
    let mut usage = std::mem::MaybeUninit::<libc::rusage_info_v4>::zeroed();
    // SAFETY: the kernel fills a `rusage_info_v4` for this flavour, and the buffer is one.
    let result =
        unsafe { libc::proc_pid_rusage(pid, libc::RUSAGE_INFO_V4, usage.as_mut_ptr().cast()) };
    // SAFETY: all-zero bytes are a valid value of this plain structure, and the call succeeded.
    (result == 0).then(|| unsafe { usage.assume_init() }.ri_phys_footprint)
}

/// Only macOS has this metric.
#[cfg(not(target_os = "macos"))]
fn footprint(_pid: u32) -> Option<u64> {
    None
}

/// Runs `work` and returns the highest memory while it ran, read ten times a second.
pub(super) fn highest_during<T>(
    read: &(dyn Fn() -> Option<MemoryReading> + Sync),
    work: impl FnOnce() -> T,
) -> (T, Option<MemoryReading>) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut highest: Option<MemoryReading> = None;
            while !over.load(Ordering::Relaxed) {
                let Some(now) = read() else { break };
                highest = Some(highest.map_or(now, |h| h.max(now)));
                std::thread::sleep(SAMPLING);
            }
            highest
        });
        let result = work();
        over.store(true, Ordering::Relaxed);
        (result, sampler.join().unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_behind_a_port_is_found_with_its_children() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let process = ServerProcess::on_port(port);
        let alone = process.read().unwrap();
        assert!(alone.resident_bytes.unwrap() > 1 << 20);
        assert_eq!(alone.footprint_bytes.is_some(), cfg!(target_os = "macos"));
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let both = process.read().unwrap();
        // Other tests of this process may start children, too.
        assert!(both.processes >= Some(2), "{both:?}");
        end_family(child.id());
        assert!(!child.wait().unwrap().success());
        drop(socket);
        assert_eq!(process.read(), None);
    }
}
