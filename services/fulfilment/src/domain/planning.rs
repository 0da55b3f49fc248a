//! Which warehouse sends what: as few parcels as can be, then the warehouses with most room, then by priority.
//!
//! Warehouses have an assortment and a daily capacity, not counts (stock is sold by SKU, elsewhere), so a line always
//! leaves from one place, and a plan is a smallest set of warehouses that together keep every line.

use std::{cmp::Reverse, collections::BTreeMap};

use spillway_types::{Fault, Reason, Sku, WarehouseId};

use super::{Region, Warehouse};

/// Partial sets looked at before a split is settled greedily. Smallest cover is NP-hard, but real orders need one to
/// three warehouses, which this finds among dozens; it bounds a plan to about a millisecond of the write worker.
const SEARCH_MAX: u32 = 10_000;

/// Which warehouse sends what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// A parcel a warehouse, the one with most room first.
    pub parcels: Vec<Parcel>,
    /// What nobody can send.
    pub unfulfillable: Vec<Unfulfillable>,
    /// Why it was split like this, for people.
    pub explanation: String,
}

/// What one warehouse sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// Where it leaves from.
    pub warehouse_id: WarehouseId,
    /// How many days it takes.
    pub promised_days: u32,
    /// What is in it, in SKU order.
    pub lines: Vec<(Sku, u32)>,
}

/// A line that nobody can send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfulfillable {
    /// What.
    pub sku: Sku,
    /// How many.
    pub quantity: u32,
    /// Why not, for people.
    pub why: String,
}

/// A warehouse that may send a parcel to the order's region today, and for how many it has room.
#[derive(Clone, Copy, Debug)]
struct Site<'a> {
    warehouse: &'a Warehouse,
    room: u32,
}

/// How good a set of sites is among those of its size; less is better.
type Score = (Reverse<u32>, i64, Vec<usize>);

/// Drafts a plan for `lines` (one entry a SKU) that go to `region`. `load` says how many parcels a warehouse has to send
/// today already. The same input always gives the same draft.
pub fn draft(
    lines: &[(Sku, u32)],
    region: Region,
    warehouses: &[&Warehouse],
    load: impl Fn(&WarehouseId) -> u32,
) -> Draft {
    let sites = sites(region, warehouses, load);
    let mut draft = Draft::default();
    // Lines that the same sites keep go together: a plan decides about such a group, not about each line.
    let mut groups: BTreeMap<Vec<usize>, Vec<(Sku, u32)>> = BTreeMap::new();
    for (sku, quantity) in lines {
        let keepers: Vec<usize> = (0..sites.len()).filter(|site| sites[*site].warehouse.keeps(sku)).collect();
        if keepers.is_empty() {
            let why = why_not(sku, region, warehouses);
            draft.unfulfillable.push(Unfulfillable { sku: sku.clone(), quantity: *quantity, why });
        } else {
            groups.entry(keepers).or_default().push((sku.clone(), *quantity));
        }
    }
    let keepers: Vec<&[usize]> = groups.keys().map(Vec::as_slice).collect();
    let cover = Cover::new(&sites, &keepers).smallest();
    for site in &cover {
        // A group goes to the first site of the set that keeps it; the set is in order of room, then priority.
        let first_keeper = |keepers: &[usize]| cover.iter().find(|site| keepers.contains(site)) == Some(site);
        let own = groups.iter().filter(|(keepers, _)| first_keeper(keepers)).flat_map(|(_, lines)| lines.clone());
        let mut lines: Vec<(Sku, u32)> = own.collect();
        if lines.is_empty() {
            // Only a greedy set can have a site that later choices made superfluous.
            continue;
        }
        lines.sort();
        let Warehouse { warehouse_id, promised_days, .. } = sites[*site].warehouse;
        draft.parcels.push(Parcel { warehouse_id: warehouse_id.clone(), promised_days: *promised_days, lines });
    }
    draft.explanation = explain(&draft.parcels);
    draft
}

/// The refusal of an order with lines that nobody can send, naming each; `None` when everything can be sent.
pub fn refusal(draft: &Draft, region: Region) -> Option<Fault> {
    let first = draft.unfulfillable.first()?;
    let others = match draft.unfulfillable.len() - 1 {
        0 => String::new(),
        others => format!(" (and {others} more)"),
    };
    let text = format!("{}{others} cannot be sent to {region}: {}", first.sku, first.why);
    let fault = Fault::new(Reason::Unshippable, text).with("region", region);
    Some(draft.unfulfillable.iter().fold(fault, |fault, line| {
        fault.with_precondition("SHIPPABLE", &line.sku, format!("{} wanted; {}", line.quantity, line.why))
    }))
}

/// Who can send a parcel to `region` today: most room first, then by priority, then by name.
fn sites<'a>(region: Region, warehouses: &[&'a Warehouse], load: impl Fn(&WarehouseId) -> u32) -> Vec<Site<'a>> {
    let serving = warehouses.iter().filter(|warehouse| warehouse.active && warehouse.serves(region));
    let with_room = serving.map(|warehouse| Site { warehouse, room: warehouse.room(load(&warehouse.warehouse_id)) });
    let mut sites: Vec<Site<'a>> = with_room.filter(|site| site.room > 0).collect();
    sites.sort_by_key(|site| (Reverse(site.room), site.warehouse.priority, &site.warehouse.warehouse_id));
    sites
}

fn why_not(sku: &Sku, region: Region, warehouses: &[&Warehouse]) -> String {
    let active: Vec<_> = warehouses.iter().filter(|warehouse| warehouse.active).collect();
    let serving: Vec<_> = active.iter().filter(|warehouse| warehouse.serves(region)).collect();
    if warehouses.is_empty() {
        "there is no warehouse yet; create one with WarehouseService.CreateWarehouse".to_owned()
    } else if active.is_empty() {
        "no warehouse is active; activate one with WarehouseService.UpdateWarehouse".to_owned()
    } else if serving.is_empty() {
        format!("no active warehouse sends to {region}")
    } else if !serving.iter().any(|warehouse| warehouse.keeps(sku)) {
        format!("no warehouse that sends to {region} keeps it")
    } else {
        format!("every warehouse that keeps it and sends to {region} is full today")
    }
}

fn explain(parcels: &[Parcel]) -> String {
    let from = |parcel: &Parcel| {
        let skus: Vec<_> = parcel.lines.iter().map(|(sku, _)| sku.as_str()).collect();
        format!("{} from {}", skus.join(", "), parcel.warehouse_id)
    };
    match parcels {
        [] => String::new(),
        [parcel] => format!("one parcel: {} has everything", parcel.warehouse_id),
        [..] => {
            let parts: Vec<_> = parcels.iter().map(from).collect();
            format!(
                "{} parcels, as no smaller number of warehouses has everything: {}",
                parcels.len(),
                parts.join("; ")
            )
        }
    }
}

/// The search for the smallest set of sites of which each group has a keeper; among equals the one with the best
/// [`Score`].
struct Cover<'a> {
    sites: &'a [Site<'a>],
    groups: Vec<Vec<usize>>,
    looked_at: u32,
    best: Option<Score>,
}

// === impl Cover ===

impl<'a> Cover<'a> {
    fn new(sites: &'a [Site<'a>], groups: &[&[usize]]) -> Self {
        let useful = |site: &usize| !(0..sites.len()).any(|other| outdoes(sites, groups, other, *site));
        let groups = groups.iter().map(|keepers| keepers.iter().copied().filter(useful).collect()).collect();
        Self { sites, groups, looked_at: 0, best: None }
    }

    fn smallest(mut self) -> Vec<usize> {
        for size in 0..=self.groups.len() {
            self.search(&mut Vec::new(), size);
            if let Some((_, _, sites)) = self.best {
                return sites;
            }
            if self.looked_at >= SEARCH_MAX {
                break;
            }
        }
        self.greedy()
    }

    /// Looks at every way to complete `chosen` with at most `left` more sites: one of them must keep the first group that
    /// has no keeper yet.
    fn search(&mut self, chosen: &mut Vec<usize>, left: usize) {
        if self.looked_at >= SEARCH_MAX {
            return;
        }
        self.looked_at += 1;
        let Some(open) = self.groups.iter().find(|keepers| !keepers.iter().any(|site| chosen.contains(site))) else {
            let score = self.score(chosen);
            if self.best.as_ref().is_none_or(|best| score < *best) {
                self.best = Some(score);
            }
            return;
        };
        if left == 0 {
            return;
        }
        for site in open.clone() {
            chosen.push(site);
            self.search(chosen, left - 1);
            chosen.pop();
        }
    }

    /// Room of the fullest site first (the most), then the sum of priorities, then the order of the sites.
    fn score(&self, chosen: &[usize]) -> Score {
        let room = chosen.iter().map(|site| self.sites[*site].room).min().unwrap_or(u32::MAX);
        let priorities = chosen.iter().map(|site| i64::from(self.sites[*site].warehouse.priority)).sum();
        let mut sites = chosen.to_vec();
        sites.sort_unstable();
        (Reverse(room), priorities, sites)
    }

    /// Takes the site that keeps most of the open groups, again and again.
    fn greedy(&self) -> Vec<usize> {
        let mut chosen = Vec::new();
        let mut open: Vec<&Vec<usize>> = self.groups.iter().collect();
        while !open.is_empty() {
            let gain = |site: &usize| open.iter().filter(|keepers| keepers.contains(site)).count();
            let Some(best) = (0..self.sites.len()).max_by_key(|site| (gain(site), Reverse(*site))) else { break };
            chosen.push(best);
            open.retain(|keepers| !keepers.contains(&best));
        }
        chosen.sort_unstable();
        chosen
    }
}

/// Whether `other` keeps all that `site` keeps and is no worse in any respect, so that `site` is never needed.
fn outdoes(sites: &[Site<'_>], groups: &[&[usize]], other: usize, site: usize) -> bool {
    // Sites are in order of room, so an earlier one has at least as much.
    other < site
        && sites[other].warehouse.priority <= sites[site].warehouse.priority
        && groups.iter().all(|keepers| keepers.contains(&other) || !keepers.contains(&site))
}

#[cfg(test)]
mod tests;
