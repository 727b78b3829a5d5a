//! The Macs of a cluster that options name.

use crate::advise::cluster::{ClusterSpec, MOST};
use crate::cli::compare::mac;
use crate::cli::shared::context::Context;
use crate::estimate::Cluster;
use crate::hardware::machine::Machine;
use crate::roofline::links::Link;
use anyhow::{Result, bail};
use clap::ValueEnum;

/// What joins the Macs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LinkArg {
    /// RDMA over Thunderbolt 5
    Jaccl,
    /// TCP over any cable
    Ring,
    /// RDMA with `MLX_METAL_FAST_SYNCH=1`
    Fast,
}

impl From<LinkArg> for Link {
    fn from(arg: LinkArg) -> Self {
        match arg {
            LinkArg::Jaccl => Self::Jaccl,
            LinkArg::Ring => Self::Ring,
            LinkArg::Fast => Self::Fast,
        }
    }
}

/// The cluster that was asked for, and what was taken for granted of it.
pub(super) fn cluster(
    context: &Context,
    (alike, macs): (Option<&ClusterSpec>, &[String]),
    link: Option<LinkArg>,
) -> Result<(Cluster, Vec<String>)> {
    let machines = match alike {
        Some(spec) => vec![mac(context, &spec.mac)?; spec.count],
        None => unlike(context, macs)?,
    };
    if !(2..=MOST).contains(&machines.len()) {
        bail!("--macs names 2 to {MOST} Macs, not {}", machines.len());
    }
    let (link, remark) = match link {
        Some(link) => (link.into(), None),
        None => {
            let link = Cluster::usual_link(&machines);
            let why = if link.needs_rdma() {
                "all of these Macs have Thunderbolt 5"
            } else {
                "RDMA needs Thunderbolt 5 on every Mac"
            };
            (link, Some(format!("--link was not given; taken is {link}: {why}")))
        }
    };
    Ok((Cluster::new(machines, link), remark.into_iter().collect()))
}

/// Macs of a list. Model identifiers have commas of their own, so that the shortest run of pieces that names a Mac is one.
fn unlike(context: &Context, pieces: &[String]) -> Result<Vec<Machine>> {
    let mut machines = Vec::new();
    let mut rest = pieces;
    while !rest.is_empty() {
        let named = (1..=rest.len().min(2))
            .find_map(|n| Some((n, mac(context, &rest[..n].join(",")).ok()?)));
        match named {
            Some((n, machine)) => {
                machines.push(machine);
                rest = &rest[n..];
            }
            // The error of the first piece says what is wrong.
            None => machines.push(mac(context, &rest[0])?),
        }
    }
    Ok(machines)
}
