//! What AWS says when it starts no instance. An auto-scaling group tells it as text only, in several wordings.

use capacity::memory::FailureKind;

/// Parts of messages, in the order in which they are looked for: the general ones last.
const PHRASES: [(&str, FailureKind); 18] = [
    ("MaxSpotInstanceCountExceeded", FailureKind::SpotQuota),
    ("Max spot instance count exceeded", FailureKind::SpotQuota),
    ("VcpuLimitExceeded", FailureKind::OnDemandQuota),
    ("more vCPU capacity than your current vCPU limit", FailureKind::OnDemandQuota),
    ("InstanceLimitExceeded", FailureKind::OnDemandQuota),
    ("InvalidFleetConfiguration", FailureKind::NotOffered),
    ("not supported in your requested Availability Zone", FailureKind::NotOffered),
    ("Unsupported", FailureKind::NotOffered),
    ("InsufficientInstanceCapacity", FailureKind::NoCapacity),
    ("do not have sufficient", FailureKind::NoCapacity),
    ("UnfulfillableCapacity", FailureKind::NoCapacity),
    ("Unable to fulfill capacity", FailureKind::NoCapacity),
    ("no Spot capacity available", FailureKind::NoCapacity),
    // Our templates set no price limit: then it means that spot costs as much as on-demand.
    ("SpotMaxPriceTooLow", FailureKind::NoCapacity),
    ("RequestLimitExceeded", FailureKind::Throttled),
    ("MaxFleetCountExceeded", FailureKind::Throttled),
    ("Throttling", FailureKind::Throttled),
    ("Rate exceeded", FailureKind::Throttled),
];

/// The kind of a failure. What is not known needs a person: a subnet without addresses, a role, an image, a new account.
pub(super) fn classify(message: &str) -> FailureKind {
    PHRASES.iter().find(|(phrase, _)| message.contains(phrase)).map_or(FailureKind::Configuration, |(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts as reported for real groups; see `docs/adr/0007-one-group-per-pool.md`.
    #[test]
    fn the_words_of_aws_are_told_apart() {
        let cases = [
            (
                "Could not launch Spot Instances. MaxSpotInstanceCountExceeded - Max spot instance count exceeded. \
                 Launching EC2 instance failed.",
                FailureKind::SpotQuota,
            ),
            (
                "You have requested more vCPU capacity than your current vCPU limit of 4 allows for the instance bucket \
                 that the specified instance type belongs to. Launching EC2 instance failed.",
                FailureKind::OnDemandQuota,
            ),
            (
                "Could not launch Spot Instances. UnfulfillableCapacity - Unable to fulfill capacity due to your request \
                 configuration. Please adjust your request and try again. Launching EC2 instance failed.",
                FailureKind::NoCapacity,
            ),
            (
                "We currently do not have sufficient g4dn.xlarge capacity in the Availability Zone you requested \
                 (eu-west-1a). Launching EC2 instance failed.",
                FailureKind::NoCapacity,
            ),
            (
                "Could not launch Spot Instances. InvalidFleetConfiguration - Your requested instance type (g6.xlarge) is \
                 not supported in your requested Availability Zone (eu-west-1a). Launching EC2 instance failed.",
                FailureKind::NotOffered,
            ),
            ("RequestLimitExceeded - Request limit exceeded. Launching EC2 instance failed.", FailureKind::Throttled),
            (
                "There are not enough free addresses in subnet 'subnet-1' to satisfy the requested number of instances.",
                FailureKind::Configuration,
            ),
            (
                "PendingVerification - Your request for accessing resources is being validated",
                FailureKind::Configuration,
            ),
            ("", FailureKind::Configuration),
        ];
        for (message, kind) in cases {
            assert_eq!(classify(message), kind, "{message}");
        }
    }
}
