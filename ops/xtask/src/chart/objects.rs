//! What rendered objects have to say together: who selects whom, what is mounted, how a node leaves.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Release;

/// The user of the image.
const USER: u64 = 10_001;
/// Kinds whose objects make pods.
const MAKE_PODS: [&str; 2] = ["Deployment", "Job"];

/// All objects of a release.
pub(super) struct Objects(Vec<Value>);

impl Objects {
    pub(super) const fn new(objects: Vec<Value>) -> Self {
        Self(objects)
    }

    /// The objects of a kind.
    pub(super) fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |object| object["kind"] == kind)
    }

    /// The templates of all pods.
    pub(super) fn pods(&self) -> impl Iterator<Item = &Value> {
        MAKE_PODS.iter().flat_map(|kind| self.of_kind(kind)).map(|object| &object["spec"]["template"])
    }

    /// All that does not fit.
    pub(super) fn problems(&self, release: Release) -> Vec<String> {
        let mut problems = self.selections();
        problems.extend(self.pods().flat_map(security));
        problems.extend(self.pods().flat_map(mounts));
        problems.extend(self.of_kind("Deployment").flat_map(rollout));
        problems.extend(self.migrations(release));
        problems
    }

    /// Selectors that select nobody, and ports that nobody has.
    fn selections(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let selectors = [
            ("Deployment", "/spec/selector/matchLabels"),
            ("Service", "/spec/selector"),
            ("PodDisruptionBudget", "/spec/selector/matchLabels"),
            ("NetworkPolicy", "/spec/podSelector/matchLabels"),
        ];
        for (kind, at) in selectors {
            for object in self.of_kind(kind) {
                let selector = object.pointer(at);
                let selected: Vec<_> = self.pods().filter(|pod| is_selected(pod, selector)).collect();
                if selected.is_empty() {
                    problems.push(format!("{} selects no pod", name(object)));
                }
                let ports = object["spec"]["ports"].as_array().into_iter().flatten();
                for port in ports.filter(|port| !selected.iter().all(|pod| has_port(pod, port))) {
                    problems.push(format!("{} leads to {port}, which its pods do not have", name(object)));
                }
            }
        }
        for monitor in self.of_kind("ServiceMonitor") {
            let selector = monitor.pointer("/spec/selector/matchLabels");
            let selected: Vec<_> =
                self.of_kind("Service").filter(|service| is_selected(service, selector)).collect();
            let port = &monitor["spec"]["endpoints"][0]["port"];
            let [service] = selected.as_slice() else {
                problems.push(format!("{} selects {} Services", name(monitor), selected.len()));
                continue;
            };
            if service["spec"]["ports"][0]["name"] != *port {
                problems.push(format!("{} has no port {port}", name(service)));
            }
        }
        for ingress in self.of_kind("Ingress") {
            let backend = &ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"];
            let services = || self.of_kind("Service");
            let leads_to = |service: &Value| {
                service["metadata"]["name"] == backend["name"]
                    && service["spec"]["ports"][0]["name"] == backend["port"]["name"]
            };
            if !services().any(leads_to) {
                problems.push(format!("{} leads nowhere", name(ingress)));
            }
        }
        problems
    }

    /// Migrations are one Job: a hook before upgrades, an ordinary one at an installation. Nodes never migrate.
    fn migrations(&self, release: Release) -> Vec<String> {
        let mut problems = Vec::new();
        let hook = |job: &Value| job["metadata"]["annotations"]["helm.sh/hook"].as_str().map(str::to_owned);
        let of =
            |wanted: Option<&str>| self.of_kind("Job").filter(|job| hook(job).as_deref() == wanted).count();
        let wanted = [
            (None, usize::from(release == Release::Install)),
            (Some("pre-upgrade"), 1),
            (Some("pre-rollback"), 1),
        ];
        for (kind, wanted) in wanted {
            let found = of(kind);
            if found != wanted {
                problems.push(format!("{found} Jobs of {kind:?} instead of {wanted}"));
            }
        }
        for job in self.of_kind("Job") {
            let policy = &job["metadata"]["annotations"]["helm.sh/hook-delete-policy"];
            if hook(job).is_some() && policy != "before-hook-creation,hook-succeeded" {
                problems.push(format!("{} stays where the next one would be", name(job)));
            }
            let volumes = job.pointer("/spec/template/spec/volumes").and_then(Value::as_array);
            let maps =
                volumes.into_iter().flatten().filter_map(|volume| volume["configMap"]["name"].as_str());
            for map in maps {
                let is_hook = |map: &&Value| map["metadata"]["annotations"]["helm.sh/hook"].is_string();
                let found = self.of_kind("ConfigMap").find(|object| object["metadata"]["name"] == map);
                if found.is_none_or(|map| is_hook(&map) != hook(job).is_some()) {
                    problems.push(format!("{} reads a ConfigMap that is not there when it runs", name(job)));
                }
            }
        }
        for pod in self.pods() {
            if variable(pod, "MUNDOTANGO__CLUSTER__CQL__MIGRATE") != Some("false") {
                problems.push("a pod migrates when it starts".to_owned());
            }
        }
        problems
    }
}

/// How an object is called in a problem.
fn name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

/// Whether an object's labels fit a selector; an empty one would select all.
fn is_selected(object: &Value, selector: Option<&Value>) -> bool {
    let labels = &object["metadata"]["labels"];
    let wanted = selector.and_then(Value::as_object).filter(|wanted| !wanted.is_empty());
    wanted.is_some_and(|wanted: &Map<String, Value>| wanted.iter().all(|(key, value)| labels[key] == *value))
}

fn has_port(pod: &Value, of_service: &Value) -> bool {
    let ports = pod["spec"]["containers"][0]["ports"].as_array();
    ports.into_iter().flatten().any(|port| port["name"] == of_service["targetPort"])
}

fn variable<'a>(pod: &'a Value, name: &str) -> Option<&'a str> {
    let variables = pod["spec"]["containers"][0]["env"].as_array()?;
    variables.iter().find(|variable| variable["name"] == name)?["value"].as_str()
}

/// What a pod may do beyond its work.
fn security(pod: &Value) -> Vec<String> {
    let (spec, container) = (&pod["spec"], &pod["spec"]["containers"][0]);
    let holds = [
        ("runs as root", spec["securityContext"]["runAsNonRoot"] == true),
        ("has another user than the image", spec["securityContext"]["runAsUser"] == USER),
        ("has no seccomp profile", spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"),
        ("gets a token of Kubernetes", spec["automountServiceAccountToken"] == false),
        ("gets variables of Services", spec["enableServiceLinks"] == false),
        ("can write its image", container["securityContext"]["readOnlyRootFilesystem"] == true),
        ("can gain rights", container["securityContext"]["allowPrivilegeEscalation"] == false),
        ("keeps capabilities", container["securityContext"]["capabilities"]["drop"][0] == "ALL"),
        ("has no bound of memory", container["resources"]["limits"]["memory"].is_string()),
    ];
    let wrong = holds.into_iter().filter(|(_, holds)| !holds);
    wrong.map(|(problem, _)| format!("{} {problem}", container["name"])).collect()
}

/// Volumes that are not mounted, mounts without a volume, and variables that are there twice.
fn mounts(pod: &Value) -> Vec<String> {
    let container = &pod["spec"]["containers"][0];
    let names = |list: &Value| -> Vec<String> {
        let list = list.as_array().into_iter().flatten();
        list.filter_map(|entry| Some(entry["name"].as_str()?.to_owned())).collect()
    };
    let set = |list: &Value| names(list).into_iter().collect::<BTreeSet<_>>();
    let (volumes, mounts) = (set(&pod["spec"]["volumes"]), set(&container["volumeMounts"]));
    let mut problems: Vec<_> = volumes
        .symmetric_difference(&mounts)
        .map(|name| format!("{name} is a volume or a mount alone"))
        .collect();
    if names(&container["env"]).len() != set(&container["env"]).len() {
        problems.push(format!("{} has a variable twice", container["name"]));
    }
    problems
}

/// How nodes are replaced: the new one first, and none is killed while it drains.
fn rollout(deployment: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let (spec, pod) = (&deployment["spec"], &deployment["spec"]["template"]);
    let rolling = &spec["strategy"]["rollingUpdate"];
    if (rolling["maxSurge"].as_u64(), rolling["maxUnavailable"].as_u64()) != (Some(1), Some(0)) {
        problems.push("a node leaves before the new one is there".to_owned());
    }
    let container = &pod["spec"]["containers"][0];
    let sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64();
    let deadline = variable(pod, "MUNDOTANGO__DRAIN__DEADLINE").and_then(seconds);
    let grace = pod["spec"]["terminationGracePeriodSeconds"].as_u64();
    // The node gives up after twice its deadline.
    match (sleep, deadline, grace) {
        (Some(sleep), Some(deadline), Some(grace)) if sleep + 2 * deadline < grace => {}
        times => problems.push(format!("a node is killed while it drains: {times:?}")),
    }
    let asks = |probe: &str| container[probe]["httpGet"]["path"].as_str().unwrap_or_default().to_owned();
    if [asks("startupProbe"), asks("livenessProbe")] != ["/api/health/live"; 2] {
        problems.push("a node is restarted for what is not its own".to_owned());
    }
    if asks("readinessProbe") != "/api/health/ready" {
        problems.push("a node gets clients before it is ready".to_owned());
    }
    problems
}

/// Seconds as options spell them.
fn seconds(text: &str) -> Option<u64> {
    text.strip_suffix('s')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(grace: u64, service_selects: &str) -> Objects {
        let probe = |path: &str| json!({ "httpGet": { "path": path } });
        let pod = json!({
            "metadata": { "labels": { "app": "node" } },
            "spec": { "terminationGracePeriodSeconds": grace, "containers": [{
                "name": "node",
                "env": [{ "name": "MUNDOTANGO__DRAIN__DEADLINE", "value": "25s" }],
                "ports": [{ "name": "http" }],
                "lifecycle": { "preStop": { "sleep": { "seconds": 20 } } },
                "startupProbe": probe("/api/health/live"),
                "livenessProbe": probe("/api/health/live"),
                "readinessProbe": probe("/api/health/ready"),
            }] },
        });
        let rolling = json!({ "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } });
        Objects::new(vec![
            json!({ "kind": "Deployment", "metadata": { "name": "a" }, "spec": {
                "selector": { "matchLabels": { "app": "node" } }, "strategy": rolling, "template": pod } }),
            json!({ "kind": "Service", "metadata": { "name": "s" }, "spec": {
                "selector": { "app": service_selects }, "ports": [{ "targetPort": "http" }] } }),
        ])
    }

    #[test]
    fn d2_a_pod_that_ends_before_the_drain_is_found() {
        let found =
            |grace| deployment(grace, "node").of_kind("Deployment").flat_map(rollout).collect::<Vec<_>>();
        assert_eq!(found(71), Vec::<String>::new());
        assert!(found(70)[0].contains("killed while it drains"), "{:?}", found(70));
    }

    #[test]
    fn a_service_of_nobody_is_found() {
        assert_eq!(deployment(71, "node").selections(), Vec::<String>::new());
        assert_eq!(deployment(71, "nobody").selections(), ["Service s selects no pod"]);
    }

    #[test]
    fn a_pod_that_may_do_more_than_its_work_is_found() {
        let problems = deployment(71, "node").pods().flat_map(security).collect::<Vec<_>>();
        assert!(problems.iter().any(|problem| problem.contains("runs as root")), "{problems:?}");
    }
}
