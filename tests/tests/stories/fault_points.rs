//! Every call that leaves a worker or a dispatcher passes a fault point.

#[path = "fault_points/ways_out.rs"]
mod ways_out;
