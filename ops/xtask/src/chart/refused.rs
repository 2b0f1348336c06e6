//! Values that cannot work, each with what the chart has to say to them.

use anyhow::Context as _;

use super::{render, values};

/// Changes of the smallest values that work, and a part of the answer.
const REFUSED: &[(&[&str], &str)] = &[
    // A node has to have left before its pod is killed.
    (&["terminationGracePeriodSeconds=80"], "preStop 20 + 2 x deadline 25 + flush 5 + margin 5 = 80"),
    (&["drain.deadlineSeconds=30"], "terminationGracePeriodSeconds: 90 is too short"),
    (&["drain.preStopSeconds=30", "minReadySeconds=60"], "terminationGracePeriodSeconds: 90 is too short"),
    (&["drain.flushSeconds=15"], "terminationGracePeriodSeconds: 90 is too short"),
    (&["drain.marginSeconds=15"], "terminationGracePeriodSeconds: 90 is too short"),
    (&["drain.windowSeconds=25", "minReadySeconds=60"], "drain.windowSeconds: 25 must be shorter than"),
    (&["minReadySeconds=34"], "minReadySeconds: 34 is shorter than"),
    (&["drain.preStopSeconds=0"], "drain.preStopSeconds"),
    (&["drain.marginSeconds=0"], "drain.marginSeconds"),
    // What has to be said.
    (&["auth.existingSecret="], "auth.existingSecret: name a Secret"),
    (&["nats.url="], "nats.url: say where nats is"),
    (&["redis.url="], "redis.url: say where redis is"),
    (&["cql.nodes=null"], "cql.nodes: name some of the servers"),
    (&["mail.transport=smtp"], "mail.smtp.host: is missing"),
    (&["mail.transport=ses"], "mail.from, mail.publicUrl"),
    (&["payments.existingSecret=stripe"], "mail.publicUrl: payers come back"),
    (
        &["payments.existingSecret=stripe", "networkPolicy.https.enabled=false"],
        "networkPolicy.https.enabled: Stripe",
    ),
    (&["ingress.enabled=true", "http.trustedProxies={10.0.0.0/8}"], "ingress.host: is missing"),
    (&["ingress.enabled=true", "ingress.host=a.example"], "http.trustedProxies: behind an Ingress"),
    (&["prometheusRule.enabled=true"], "prometheusRule.files: give the files"),
    (
        &["prometheusRule.enabled=true", "prometheusRule.files.a=x: 1"],
        "prometheusRule.files.a: has no groups",
    ),
    // What must not be said.
    (&["nats.existingSecret=x"], "nats.url: give it or nats.existingSecret, not both"),
    (&["redis.url=redis://:hidden@redis:6379"], "redis.url: has a password"),
    (&["cql.tls.clientCertificate=true"], "cql.tls.clientCertificate: needs"),
    (&["nats.tls.clientCertificate=true"], "nats.tls.clientCertificate: needs"),
    (&["image.tag=latest"], "image.tag: latest is no version"),
    (&["http.internalPort=5000"], "http.internalPort: must not be http.port"),
    (&["http.port=443"], "http.port"),
    (&["extraEnv[0].name=MUNDOTANGO__DRAIN__DEADLINE", "extraEnv[0].value=9s"], "is set by the chart"),
    (&["podDisruptionBudget.maxUnavailable=3"], "would let all 3 nodes go at once"),
    (
        &["autoscaling.enabled=true", "autoscaling.maxReplicas=2"],
        "autoscaling.maxReplicas: must not be below",
    ),
    // What is misspelt.
    (&["replicaCount=5"], "replicaCount"),
    (&["drain.deadline=30s"], "deadline"),
    (&["cql.nodes={scylla}"], "cql.nodes"),
    (&["image.digest=sha256:12"], "image.digest"),
];

/// Changes that are at the edge, and work.
const ACCEPTED: &[&[&str]] = &[
    &["terminationGracePeriodSeconds=81"],
    &["minReadySeconds=35"],
    &["drain.windowSeconds=24", "minReadySeconds=44"],
    &["replicas=1"],
    &["networkPolicy.enabled=false", "podDisruptionBudget.enabled=false", "topologySpread.enabled=false"],
];

/// How many sets of values have to be refused.
pub(super) fn count() -> usize {
    REFUSED.len()
}

/// Tries all of them.
pub(super) fn all() -> anyhow::Result<()> {
    for (changes, wanted) in REFUSED {
        let told = match rendered_with(changes) {
            Ok(_) => anyhow::bail!("{changes:?} is not refused"),
            Err(error) => format!("{error:#}"),
        };
        // The schema names a value by its path, with slashes.
        let is_told = told.contains(wanted) || told.contains(&wanted.replace('.', "/"));
        anyhow::ensure!(is_told, "{changes:?} is refused without {wanted:?}:\n{told}");
        anyhow::ensure!(!told.contains("hidden"), "{changes:?}: the answer holds a password");
    }
    for changes in ACCEPTED {
        rendered_with(changes).with_context(|| format!("{changes:?} is refused"))?;
    }
    Ok(())
}

fn rendered_with(changes: &[&str]) -> anyhow::Result<String> {
    let arguments: Vec<_> = changes.iter().flat_map(|change| ["--set", *change]).collect();
    render(&values("minimal"), &arguments)
}
