//! The protocol of queue, lease and publication as a model, checked in every state that it can reach.
//!
//! Reading order: `design` (what is varied, and what may go wrong), `state` (what there is), `protocol` (what can happen),
//! `worker`, `publisher`, `fault`, `properties` (what must hold). Every step is one statement of the database, one call of
//! the queue or one write of an object; a process may die between any two.
//!
//! `cargo test --release -p stories --test model -- --nocapture` shows numbers and counterexamples.

#[path = "model/design.rs"]
mod design;
#[path = "model/fault.rs"]
mod fault;
#[path = "model/properties.rs"]
mod properties;
#[path = "model/protocol.rs"]
mod protocol;
#[path = "model/publisher.rs"]
mod publisher;
#[path = "model/state.rs"]
mod state;
#[path = "model/worker.rs"]
mod worker;

use std::collections::HashMap;
use std::time::Instant;

use design::{Design, Faults, Limits};
use properties::{ATTEMPTS, CANCELLED, COMMITTED, ENDS, EVENT, MASTER, NAMES, POISON, STALE, SUCCESS, WASTE, WATCH};
use protocol::Protocol;
use state::{Job, State};
use stateright::{Checker, HasDiscoveries, Model};

/// One chunk of two segments, two workers, one publisher, and one fault of the kinds that come most.
const SMALL: Limits = Limits {
    chunks: 1,
    segments: 2,
    workers: 2,
    publishers: 1,
    deaths: 2,
    faults: Faults { crashes: 1, expiries: 1, duplicates: 1, losses: 1, ..Faults::NONE },
};
const TWO_PUBLISHERS: Limits =
    Limits { publishers: 2, faults: Faults { crashes: 1, expiries: 1, cancels: 1, ..Faults::NONE }, ..SMALL };
const TWO_CHUNKS: Limits = Limits { chunks: 2, segments: 1, publishers: 1, ..TWO_PUBLISHERS };
/// The queue loses nothing by itself.
const LOSSLESS: Limits = Limits { faults: Faults { losses: 0, ..SMALL.faults }, ..SMALL };
const RETRIED: Limits =
    Limits { faults: Faults { crashes: 1, cancels: 1, retries: 1, sweeps: 1, ..Faults::NONE }, ..SMALL };
/// One chunk of three segments that is split once.
const SPLIT: Limits = Limits { segments: 3, faults: Faults { crashes: 1, splits: 1, ..Faults::NONE }, ..SMALL };

/// Checks that a design keeps all properties in every state of a world.
#[track_caller]
fn holds(design: Design, limits: Limits) {
    let started = Instant::now();
    let checker = Protocol { design, limits }.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!(
        "{design:?} holds: {} states, {} steps, longest shortest path {}, {:.1} s; {limits:?}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth() - 1,
        started.elapsed().as_secs_f64()
    );
    if let Some((property, path)) = checker.discoveries().into_iter().next() {
        panic!("{design:?} breaks \"{property}\": {:#?}", path.into_actions());
    }
    assert!(checker.is_done(), "not all states were seen");
}

/// Checks that a design breaks a property, and shows how.
#[track_caller]
fn breaks(design: Design, property: &'static str, limits: Limits) {
    let started = Instant::now();
    // Deeper and deeper, so that the first counterexample found is a shortest one.
    for depth in 2..50 {
        let until = HasDiscoveries::AnyOf([property].into());
        let protocol = Protocol { design, limits };
        let checker = protocol.checker().target_max_depth(depth).finish_when(until).spawn_bfs().join();
        if let Some(path) = checker.discovery(property) {
            let (steps, seconds) = (path.into_actions(), started.elapsed().as_secs_f64());
            println!("{design:?} breaks \"{property}\" in {} steps ({seconds:.1} s): {steps:?}", steps.len());
            return;
        }
    }
    panic!("{design:?} keeps \"{property}\"");
}

#[test]
fn the_protocol_holds_when_one_thing_of_each_kind_goes_wrong() {
    holds(Design::Ours, SMALL);
}

#[test]
fn the_protocol_holds_when_workers_die_and_leases_end_early() {
    holds(Design::Ours, Limits { faults: Faults { crashes: 2, expiries: 2, ..Faults::NONE }, ..SMALL });
}

#[test]
fn the_protocol_holds_when_messages_are_doubled_and_redelivered() {
    let faults = Faults { crashes: 1, expiries: 1, redeliveries: 1, duplicates: 1, cancels: 1, ..Faults::NONE };
    holds(Design::Ours, Limits { faults, ..SMALL });
}

#[test]
fn the_protocol_holds_when_messages_are_lost_and_sent_again_without_need() {
    let faults = Faults { crashes: 1, expiries: 1, losses: 1, resends: 1, ..Faults::NONE };
    holds(Design::Ours, Limits { faults, ..SMALL });
}

#[test]
fn the_protocol_holds_when_workers_are_drained() {
    let faults = Faults { crashes: 1, expiries: 1, drains: 1, ..Faults::NONE };
    holds(Design::Ours, Limits { faults, ..SMALL });
}

#[test]
fn the_protocol_holds_when_chunks_at_work_are_split() {
    holds(Design::Ours, SPLIT);
    let faults = Faults { expiries: 1, duplicates: 1, splits: 1, ..Faults::NONE };
    holds(Design::Ours, Limits { segments: 2, faults, ..SPLIT });
}

#[test]
fn the_protocol_holds_when_publishers_race_and_die() {
    let faults = Faults { crashes: 2, cancels: 1, ..Faults::NONE };
    holds(Design::Ours, Limits { faults, ..TWO_PUBLISHERS });
    holds(Design::Ours, TWO_PUBLISHERS);
}

#[test]
fn the_protocol_holds_with_two_chunks_at_once() {
    holds(Design::Ours, TWO_CHUNKS);
    let faults = Faults { crashes: 1, ..Faults::NONE };
    holds(Design::Ours, Limits { segments: 2, publishers: 2, faults, ..TWO_CHUNKS });
}

#[test]
fn the_protocol_holds_when_ended_jobs_are_retried_and_swept() {
    holds(Design::Ours, RETRIED);
}

#[test]
#[ignore = "takes minutes"]
fn the_protocol_holds_in_larger_worlds() {
    let faults = Faults { crashes: 1, expiries: 1, duplicates: 1, losses: 1, resends: 1, ..Faults::NONE };
    holds(Design::Ours, Limits { faults, ..SMALL });
    let faults = Faults { crashes: 1, expiries: 1, duplicates: 1, losses: 1, drains: 1, ..Faults::NONE };
    holds(Design::Ours, Limits { faults, ..SMALL });
    let faults = Faults { crashes: 2, expiries: 1, ..Faults::NONE };
    holds(Design::Ours, Limits { faults, ..TWO_PUBLISHERS });
    holds(Design::Ours, Limits { publishers: 2, ..TWO_CHUNKS });
    let faults = Faults { crashes: 2, expiries: 2, ..Faults::NONE };
    holds(Design::Ours, Limits { workers: 3, faults, ..SMALL });
    let faults = Faults { crashes: 1, expiries: 1, cancels: 1, retries: 1, sweeps: 1, ..Faults::NONE };
    holds(Design::Ours, Limits { faults, ..SMALL });
}

/// What [`ENDS`] rests on: a walk that never comes back to where it was comes to an end.
#[test]
fn no_sequence_of_steps_comes_back_to_where_it_was_and_every_end_is_reached() {
    let faults = Faults { cancels: 1, ..SMALL.faults };
    let protocol = Protocol { design: Design::Ours, limits: Limits { segments: 1, faults, ..SMALL } };
    // Whether a state was left for good, or is on the path to where the walk is.
    let mut is_left: HashMap<State, bool> = HashMap::new();
    let mut path = Vec::new();
    for start in protocol.init_states() {
        is_left.insert(start, false);
        path.push((start, protocol.next_states(&start)));
    }
    while let Some((state, next)) = path.last_mut() {
        let Some(to) = next.pop() else {
            is_left.insert(*state, true);
            path.pop();
            continue;
        };
        match is_left.get(&to) {
            Some(true) => {}
            Some(false) => panic!("a circle through {to:#?}"),
            None => {
                is_left.insert(to, false);
                path.push((to, protocol.next_states(&to)));
            }
        }
    }
    for end in [Job::Succeeded, Job::Failed, Job::Cancelled] {
        let states = is_left.keys().filter(|s| s.job == end).count();
        let with_master = is_left.keys().filter(|s| s.job == end && s.master.is_some()).count();
        println!("{end:?}: {states} states, {with_master} with a master playlist");
        assert!(states > 0, "{end:?} is never reached");
    }
    println!("no circle in {} states", is_left.len());
}

#[test]
fn when_a_message_is_deleted_does_not_matter_while_lost_ones_are_sent_again() {
    holds(Design::DeleteAfterClaim, SMALL);
    holds(Design::DeleteOnReceipt, SMALL);
}

#[test]
fn a_message_sent_before_its_release_commits_costs_time_only_while_lost_ones_are_sent_again() {
    holds(Design::SendBeforeRelease, SMALL);
}

#[test]
fn a_stale_message_may_wake_the_next_attempt_when_the_claim_takes_its_number_from_the_row() {
    holds(Design::ClaimTakesRowsAttempt, SMALL);
}

#[test]
fn a_message_deleted_before_its_work_loses_the_job_when_nothing_sends_again() {
    breaks(Design::DeleteOnReceiptNoResend, ENDS, LOSSLESS);
}

#[test]
fn a_message_sent_before_its_release_commits_loses_the_job_when_nothing_sends_again() {
    breaks(Design::SendBeforeReleaseNoResend, ENDS, LOSSLESS);
}

#[test]
fn a_relay_that_deletes_before_it_sends_loses_the_job_when_nothing_sends_again() {
    breaks(Design::RelayDeletesFirstNoResend, ENDS, LOSSLESS);
}

#[test]
fn a_lost_message_loses_the_job_when_nothing_sends_again() {
    breaks(Design::NoResend, ENDS, SMALL);
}

#[test]
fn a_claim_that_ignores_the_attempt_lets_stale_messages_void_attempts() {
    breaks(Design::ClaimIgnoresAttempt, ATTEMPTS, SMALL);
}

#[test]
fn a_claim_that_ignores_the_state_lets_doubled_messages_waste_work() {
    breaks(Design::ClaimIgnoresState, WASTE, SMALL);
}

#[test]
fn keys_without_the_attempt_let_a_stale_worker_change_a_published_segment() {
    breaks(Design::SharedKeys, NAMES, SMALL);
    breaks(Design::SharedKeys, STALE, SMALL);
}

#[test]
fn a_commit_without_the_lease_publishes_a_stale_segment() {
    breaks(Design::CommitWithoutLease, NAMES, SMALL);
    breaks(Design::CommitWithoutLease, CANCELLED, TWO_PUBLISHERS);
}

#[test]
fn a_row_before_its_object_publishes_a_missing_segment() {
    breaks(Design::RowBeforeObject, NAMES, SMALL);
}

#[test]
fn a_completion_without_the_lease_lets_a_stale_worker_end_the_chunk() {
    breaks(Design::CompleteWithoutLease, STALE, SMALL);
}

#[test]
fn a_rescue_under_the_same_number_lets_a_stale_worker_change_a_published_segment() {
    breaks(Design::RescueKeepsAttempt, NAMES, SMALL);
}

#[test]
fn an_attempt_that_starts_over_encodes_committed_segments_again() {
    breaks(Design::RestartFromFirst, COMMITTED, SMALL);
    breaks(Design::RestartFromFirst, WASTE, SMALL);
}

#[test]
fn a_verdict_after_the_rescue_gives_poison_to_a_third_worker() {
    breaks(Design::LateVerdict, POISON, SMALL);
}

#[test]
fn a_growing_playlist_written_without_a_condition_shrinks() {
    breaks(Design::WatchUnconditional, WATCH, TWO_PUBLISHERS);
}

#[test]
fn publishing_before_all_chunks_are_done_makes_a_master_playlist_of_a_part() {
    breaks(Design::PublishFirstChunk, MASTER, TWO_CHUNKS);
}

#[test]
fn a_master_playlist_before_the_media_playlists_names_what_is_not_there() {
    breaks(Design::MasterFirst, MASTER, SMALL);
}

#[test]
fn success_before_the_playlists_leaves_a_job_that_nobody_can_watch() {
    breaks(Design::SuccessFirst, SUCCESS, SMALL);
    breaks(Design::SuccessFirst, ENDS, SMALL);
}

#[test]
fn an_event_from_the_worker_comes_before_the_publication() {
    breaks(Design::EventByWorker, EVENT, SMALL);
}

#[test]
fn an_event_after_the_transaction_can_be_lost() {
    breaks(Design::EventAfterSuccess, ENDS, SMALL);
}

#[test]
fn success_that_ignores_the_state_overtakes_a_cancel() {
    breaks(Design::SuccessIgnoresState, CANCELLED, TWO_PUBLISHERS);
}

#[test]
fn a_cancel_that_leaves_the_attempts_alone_takes_commits_afterwards() {
    breaks(Design::CancelKeepsAttempts, CANCELLED, TWO_PUBLISHERS);
}

#[test]
fn the_rest_of_a_split_chunk_under_old_numbers_lets_its_first_holder_change_a_published_segment() {
    breaks(Design::RestNumbersAgain, NAMES, SPLIT);
    breaks(Design::RestNumbersAgain, STALE, SPLIT);
}

#[test]
fn a_commit_past_the_end_that_a_split_gave_is_one_of_a_chunk_that_does_not_have_the_segment() {
    breaks(Design::CommitPastEnd, STALE, SPLIT);
}

#[test]
fn a_sweep_that_takes_what_every_try_names_alike_deletes_the_master_playlist_of_a_retried_job() {
    breaks(Design::SweepTakesSharedNames, SUCCESS, RETRIED);
}

#[test]
fn a_sweep_that_lists_objects_after_the_rows_deletes_segments_of_a_retried_job() {
    breaks(Design::SweepListsLate, NAMES, RETRIED);
}
