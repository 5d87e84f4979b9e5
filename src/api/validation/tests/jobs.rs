//! Job and `CronJob`.

use super::*;

fn labels() -> Value {
    json!({
        "controller-uid": "u", "job-name": "j",
        "batch.kubernetes.io/controller-uid": "u", "batch.kubernetes.io/job-name": "j",
    })
}

fn template(over: Value) -> Value {
    let base = json!({ "restartPolicy": "Never", "containers": [{ "name": "a", "image": "x" }] });
    json!({ "metadata": { "labels": labels() }, "spec": merged(base, over) })
}

fn whole(spec: Value) -> Value {
    let base = json!({
        "selector": { "matchLabels": { "batch.kubernetes.io/controller-uid": "u" } },
        "template": template(json!({})),
    });
    json!({ "metadata": { "name": "j", "uid": "u" }, "spec": merged(base, spec) })
}

fn job(spec: Value) -> Vec<String> {
    strip("spec.", errors("batch", "Job", whole(spec)))
}

fn indexed(over: Value) -> Value {
    merged(json!({ "completionMode": "Indexed", "completions": 5 }), over)
}

#[test]
fn a_job_counts_within_bounds() {
    check(
        job,
        vec![
            (json!({}), &[]),
            (json!({ "parallelism": 0, "completions": 3, "ttlSecondsAfterFinished": 0 }), &[]),
            (
                json!({ "parallelism": -1 }),
                &["parallelism: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                json!({ "completions": -1 }),
                &["completions: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                json!({ "backoffLimit": -1 }),
                &["backoffLimit: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                json!({ "activeDeadlineSeconds": -1 }),
                &["activeDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                json!({ "completionMode": "Ordered" }),
                &[
                    "completionMode: Unsupported value: \"Ordered\": supported values: \"NonIndexed\", \"Indexed\"",
                ],
            ),
            (
                json!({ "backoffLimitPerIndex": 1 }),
                &["backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"],
            ),
            (
                json!({ "maxFailedIndexes": 1 }),
                &[
                    "backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
                    "maxFailedIndexes: Invalid value: 1: requires indexed completion mode",
                ],
            ),
            (json!({ "managedBy": "example.com/queue" }), &[]),
            (
                json!({ "managedBy": "queue" }),
                &[
                    "managedBy: Invalid value: \"queue\": must be a domain-prefixed path (such as \"acme.io/foo\")",
                ],
            ),
            (
                json!({ "podReplacementPolicy": "Now" }),
                &[
                    "podReplacementPolicy: Unsupported value: \"Now\": supported values: \"Failed\", \"TerminatingOrFailed\"",
                ],
            ),
        ],
    );
}

#[test]
fn an_indexed_job_says_how_many_indexes_it_has() {
    check(
        job,
        vec![
            (indexed(json!({ "backoffLimitPerIndex": 1, "maxFailedIndexes": 5 })), &[]),
            (
                json!({ "completionMode": "Indexed", "parallelism": 2 }),
                &["completions: Required value: when completion mode is Indexed"],
            ),
            (
                indexed(json!({ "parallelism": 100_001 })),
                &[
                    "parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed",
                ],
            ),
            (
                indexed(json!({ "backoffLimitPerIndex": 1, "maxFailedIndexes": 6 })),
                &["maxFailedIndexes: Invalid value: 6: must be less than or equal to completions"],
            ),
            (
                indexed(json!({ "completions": 100_001, "backoffLimitPerIndex": 1, "parallelism": 10_001 })),
                &[
                    "maxFailedIndexes: Required value: must be specified when completions is above 100000",
                    "parallelism: Invalid value: 10001: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index",
                ],
            ),
        ],
    );
    let mut long = whole(indexed(json!({})));
    long["metadata"]["name"] = "j".repeat(62).into();
    let told = errors("batch", "Job", long);
    assert!(
        told.last().unwrap().contains("will not able to create pod with invalid DNS label: jjj"),
        "{told:?}"
    );
}

#[test]
fn the_pods_of_a_job_end() {
    check(
        job,
        vec![
            (json!({ "template": template(json!({ "restartPolicy": "OnFailure" })) }), &[]),
            (
                json!({ "template": template(json!({ "restartPolicy": null })) }),
                &["template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""],
            ),
            (
                json!({ "template": template(json!({ "restartPolicy": "OnFailure" })), "podFailurePolicy": { "rules": [] } }),
                &[
                    "template.spec.restartPolicy: Invalid value: \"OnFailure\": only \"Never\" is supported when podFailurePolicy is specified",
                ],
            ),
        ],
    );
}

#[test]
fn a_job_selects_its_own_pods() {
    let mislabelled = merged(labels(), json!({ "job-name": "k" }));
    let shown = serde_json::to_string(&mislabelled).unwrap();
    let mut other = template(json!({}));
    other["metadata"]["labels"] = mislabelled;
    let mut bare = template(json!({}));
    bare["metadata"] = json!({ "labels": { "a": "b" } });
    let wrong = format!("template.metadata.labels[job-name]: Invalid value: {shown}: must be 'j'");
    check(job, vec![(json!({ "template": other }), &[&wrong])]);
    check(
        job,
        vec![
            (json!({ "selector": null }), &["selector: Required value", &unsuited(&labels())]),
            (
                json!({ "selector": { "matchLabels": { "job-name": "k" } } }),
                &[
                    "selector: Invalid value: {\"matchLabels\":{\"job-name\":\"k\"}}: `selector` not auto-generated",
                    &unsuited(&labels()),
                ],
            ),
            (
                json!({ "manualSelector": true, "selector": { "matchLabels": { "a": "b" } }, "template": bare }),
                &[],
            ),
        ],
    );
}

fn unsuited(labels: &Value) -> String {
    format!("template.metadata.labels: Invalid value: {labels}: `selector` does not match template `labels`")
}

#[test]
fn a_failure_policy_is_a_list_of_clear_rules() {
    let rule = |rule: Value| json!({ "podFailurePolicy": { "rules": [rule] } });
    let codes = |codes: Value| rule(json!({ "action": "FailJob", "onExitCodes": codes }));
    check(
        job,
        vec![
            (codes(json!({ "operator": "In", "values": [1, 2], "containerName": "a" })), &[]),
            (rule(json!({ "action": "Ignore", "onPodConditions": [{ "type": "DisruptionTarget" }] })), &[]),
            (
                rule(json!({ "action": "Ignore" })),
                &[
                    "podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
                ],
            ),
            (
                rule(
                    json!({ "action": "Ignore", "onPodConditions": [{ "type": "A" }], "onExitCodes": { "operator": "In", "values": [1] } }),
                ),
                &[
                    "podFailurePolicy.rules[0]: Invalid value: specifying both OnExitCodes and OnPodConditions is not supported",
                ],
            ),
            (
                rule(json!({ "action": "", "onPodConditions": [{ "type": "A" }] })),
                &[
                    "podFailurePolicy.rules[0].action: Required value: valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]",
                ],
            ),
            (
                rule(json!({ "action": "Retry", "onPodConditions": [{ "type": "A" }] })),
                &[
                    "podFailurePolicy.rules[0].action: Unsupported value: \"Retry\": supported values: \"Count\", \"FailIndex\", \"FailJob\", \"Ignore\"",
                ],
            ),
            (
                rule(json!({ "action": "FailIndex", "onPodConditions": [{ "type": "A" }] })),
                &[
                    "podFailurePolicy.rules[0].action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set",
                ],
            ),
            (
                codes(json!({ "operator": "In", "values": [0, 3, 2, 2], "containerName": "b" })),
                &[
                    "podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: \"b\": must be one of the container or initContainer names in the pod template",
                    "podFailurePolicy.rules[0].onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator",
                    "podFailurePolicy.rules[0].onExitCodes.values[3]: Duplicate value: 2",
                    "podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [0,3,2,2]: must be ordered",
                ],
            ),
            (
                codes(json!({ "operator": "Is", "values": [] })),
                &[
                    "podFailurePolicy.rules[0].onExitCodes.operator: Unsupported value: \"Is\": supported values: \"In\", \"NotIn\"",
                    "podFailurePolicy.rules[0].onExitCodes.values: Invalid value: []: at least one value is required",
                ],
            ),
            (
                rule(json!({ "action": "Count", "onPodConditions": [{ "type": "A", "status": "Maybe" }] })),
                &[
                    "podFailurePolicy.rules[0].onPodConditions[0].status: Unsupported value: \"Maybe\": supported values: \"False\", \"True\", \"Unknown\"",
                ],
            ),
            (
                json!({ "podFailurePolicy": { "rules": vec![json!({ "action": "Count", "onPodConditions": [{ "type": "A" }] }); 21] } }),
                &["podFailurePolicy.rules: Too many: 21: must have at most 20 items"],
            ),
            (
                json!({ "podFailurePolicy": { "rules": [] }, "podReplacementPolicy": "TerminatingOrFailed" }),
                &[
                    "podReplacementPolicy: Unsupported value: \"TerminatingOrFailed\": supported values: \"Failed\"",
                ],
            ),
        ],
    );
}

#[test]
fn a_success_policy_names_indexes_that_exist() {
    let rule = |rule: Value| indexed(json!({ "successPolicy": { "rules": [rule] } }));
    let at = "successPolicy.rules[0]";
    let cases: Vec<(Value, Vec<String>)> = vec![
        (rule(json!({ "succeededIndexes": "0,2-4", "succeededCount": 4 })), vec![]),
        (
            json!({ "successPolicy": { "rules": [{ "succeededCount": 1 }] } }),
            vec!["successPolicy: Invalid value: {\"rules\":[{\"succeededCount\":1}]}: requires indexed completion mode".into()],
        ),
        (
            indexed(json!({ "successPolicy": { "rules": [] } })),
            vec!["successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is specified".into()],
        ),
        (
            rule(json!({})),
            vec![format!("{at}: Required value: at least one of succeededCount or succeededIndexes must be specified")],
        ),
        (
            rule(json!({ "succeededIndexes": "0-9" })),
            vec![format!("{at}.succeededIndexes: Invalid value: \"0-9\": error parsing succeededIndexes: too large index: \"9\"")],
        ),
        (
            rule(json!({ "succeededIndexes": "3,1" })),
            vec![format!(
                "{at}.succeededIndexes: Invalid value: \"3,1\": error parsing succeededIndexes: non-increasing order, previous: 3, current: 1"
            )],
        ),
        (
            rule(json!({ "succeededIndexes": "a" })),
            vec![format!(
                "{at}.succeededIndexes: Invalid value: \"a\": error parsing succeededIndexes: cannot convert string to integer for index: \"a\""
            )],
        ),
        (
            rule(json!({ "succeededIndexes": "1", "succeededCount": 2 })),
            vec![format!(
                "{at}.succeededCount: Invalid value: 2: must be less than or equal to 1 (the number of indexes in the specified succeededIndexes field)"
            )],
        ),
        (
            rule(json!({ "succeededCount": 6 })),
            vec![format!(
                "{at}.succeededCount: Invalid value: 6: must be less than or equal to 5 (the number of specified completions)"
            )],
        ),
    ];
    for (given, expected) in cases {
        assert_eq!(job(given.clone()), expected, "{given}");
    }
}

fn job_update(new: Value, old: Value) -> Vec<String> {
    update_errors("batch", "Job", new, old)
}

#[test]
fn little_of_a_job_may_change() {
    let fixed =
        |field: &str, shown: &str| vec![format!("spec.{field}: Invalid value: {shown}: field is immutable")];
    for (new, old, expected) in [
        (
            json!({ "parallelism": 3, "completions": 1, "suspend": true, "ttlSecondsAfterFinished": 5 }),
            json!({}),
            vec![],
        ),
        (json!({ "parallelism": 3 }), json!({}), fixed("completions", "\"null\"")),
        (json!({ "completions": 3 }), json!({ "completions": 2 }), fixed("completions", "3")),
        (
            json!({ "selector": { "matchLabels": { "a": "b" } } }),
            json!({}),
            fixed("selector", "{\"matchLabels\":{\"a\":\"b\"}}"),
        ),
        (indexed(json!({})), json!({ "completions": 5 }), fixed("completionMode", "\"Indexed\"")),
        (json!({ "managedBy": "a.b/c" }), json!({}), fixed("managedBy", "\"a.b/c\"")),
        (
            json!({ "podFailurePolicy": { "rules": [] }, "podReplacementPolicy": "Failed" }),
            json!({}),
            fixed("podFailurePolicy", "{\"rules\":[]}"),
        ),
        (
            indexed(json!({ "backoffLimitPerIndex": 2 })),
            indexed(json!({ "backoffLimitPerIndex": 1 })),
            fixed("backoffLimitPerIndex", "2"),
        ),
        (indexed(json!({ "completions": 7, "parallelism": 7 })), indexed(json!({})), vec![]),
        (
            indexed(json!({ "completions": 7, "parallelism": 2 })),
            indexed(json!({})),
            vec![
                "spec.completions: Invalid value: 7: can only be modified in tandem with spec.parallelism"
                    .into(),
            ],
        ),
    ] {
        assert_eq!(job_update(whole(new.clone()), whole(old)), expected, "{new}");
    }
}

#[test]
fn where_the_pods_of_a_job_run_may_change_until_it_has_run() {
    let affinity = json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{ "matchExpressions": [{ "key": "a", "operator": "Exists" }] }] } } });
    for steered in [
        json!({ "nodeSelector": { "gpu": "yes" } }),
        json!({ "tolerations": [{ "operator": "Exists" }] }),
        json!({ "affinity": affinity }),
        json!({ "schedulingGates": [{ "name": "a.b/c" }] }),
    ] {
        let new = whole(json!({ "suspend": false, "template": template(steered.clone()) }));
        let suspended = whole(json!({ "suspend": true }));
        assert_eq!(job_update(new.clone(), suspended.clone()), Vec::<String>::new(), "{steered}");
        let mut started = suspended;
        started["status"] = json!({ "startTime": "2026-01-01T00:00:00Z" });
        for old in [started, whole(json!({}))] {
            let told = job_update(new.clone(), old);
            assert!(told.len() == 1 && told[0].ends_with("field is immutable"), "{told:?}");
        }
        let cleared = whole(json!({ "suspend": true }));
        let mut old = new;
        old["spec"]["suspend"] = true.into();
        assert_eq!(job_update(cleared, old), Vec::<String>::new(), "without {steered}");
    }
    let image = template(json!({ "containers": [{ "name": "a", "image": "y" }] }));
    let told = job_update(whole(json!({ "template": image })), whole(json!({ "suspend": true })));
    assert!(told[0].starts_with("spec.template: Invalid value: "), "{told:?}");
}

fn status_errors(spec: Value, new: Value, old: Value) -> Vec<String> {
    let object = |status: Value| json!({ "spec": spec, "status": status });
    strip("status.", told((kind("batch", "Job").validate_status)(&object(new), &object(old))))
}

fn conditions(names: &[&str]) -> Value {
    names.iter().map(|name| json!({ "type": name, "status": "True" })).collect()
}

const START: &str = "2026-01-01T00:00:00Z";
const END: &str = "2026-01-01T00:01:00Z";

#[test]
fn the_end_of_a_job_is_consistent_and_final() {
    let complete = |over: Value| {
        let base = json!({
            "conditions": conditions(&["SuccessCriteriaMet", "Complete"]),
            "startTime": START, "completionTime": END, "succeeded": 1,
        });
        merged(base, over)
    };
    let cases: Vec<(Value, Value, &[&str])> = vec![
        (complete(json!({})), json!({}), &[]),
        (
            complete(json!({ "conditions": conditions(&["Complete"]) })),
            json!({}),
            &[
                "conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
            ],
        ),
        (
            complete(json!({ "conditions": conditions(&["SuccessCriteriaMet"]) })),
            json!({}),
            &[
                "completionTime: Invalid value: \"2026-01-01T00:01:00Z\": cannot set completionTime when there is no Complete=True condition",
            ],
        ),
        (
            complete(json!({ "completionTime": null })),
            json!({}),
            &["completionTime: Required value: completionTime is required for Complete jobs"],
        ),
        (
            complete(json!({ "startTime": END, "completionTime": START })),
            json!({}),
            &[
                "completionTime: Invalid value: \"2026-01-01T00:00:00Z\": completionTime cannot be set before startTime",
            ],
        ),
        (
            complete(json!({ "startTime": null })),
            json!({}),
            &["startTime: Required value: startTime is required for finished job"],
        ),
        (
            complete(json!({ "active": 1 })),
            json!({}),
            &["active: Invalid value: 1: active>0 is invalid for finished job"],
        ),
        (
            complete(json!({ "terminating": 1 })),
            json!({}),
            &["terminating: Invalid value: 1: terminating>0 is invalid for finished job"],
        ),
        (
            complete(json!({ "uncountedTerminatedPods": { "failed": ["u"] } })),
            json!({}),
            &[
                "uncountedTerminatedPods: Invalid value: {\"failed\":[\"u\"]}: uncountedTerminatedPods needs to be empty for finished job",
            ],
        ),
        (
            json!({ "conditions": conditions(&["Failed"]), "startTime": START }),
            json!({}),
            &[
                "conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition",
            ],
        ),
        (
            json!({ "startTime": START, "succeeded": 1 }),
            complete(
                json!({ "completionTime": null, "conditions": conditions(&["SuccessCriteriaMet", "Complete"]) }),
            ),
            &[
                "conditions: Invalid value: cannot disable the terminal Complete=True condition",
                "conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition",
            ],
        ),
        (
            complete(json!({ "completionTime": "2026-01-01T00:02:00Z" })),
            complete(json!({})),
            &["completionTime: Invalid value: \"2026-01-01T00:02:00Z\": completionTime cannot be mutated"],
        ),
        (
            json!({ "conditions": conditions(&["SuccessCriteriaMet", "FailureTarget"]) }),
            json!({}),
            &[
                "conditions: Invalid value: cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
            ],
        ),
    ];
    for (new, old, expected) in cases {
        assert_eq!(
            status_errors(json!({ "completions": 1, "parallelism": 1 }), new.clone(), old),
            expected,
            "{new}"
        );
    }
}

#[test]
fn the_counters_of_a_job_only_grow() {
    let plain = json!({ "completions": 5, "parallelism": 1 });
    let elastic = json!({ "completionMode": "Indexed", "completions": 5, "parallelism": 5 });
    for (spec, new, old, expected) in [
        (&plain, json!({ "succeeded": 2 }), json!({ "succeeded": 1 }), &[][..]),
        (
            &plain,
            json!({ "succeeded": 1, "failed": 0 }),
            json!({ "succeeded": 2, "failed": 1 }),
            &[
                "failed: Invalid value: 0: cannot decrease the failed counter",
                "succeeded: Invalid value: 1: cannot decrease the succeeded counter",
            ],
        ),
        (&elastic, json!({ "succeeded": 1 }), json!({ "succeeded": 2 }), &[]),
        (
            &plain,
            json!({ "ready": 2, "active": 1 }),
            json!({}),
            &["ready: Invalid value: 2: cannot set more ready pods than active"],
        ),
        (
            &plain,
            json!({ "active": -1 }),
            json!({}),
            &["active: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            &plain,
            json!({ "uncountedTerminatedPods": { "succeeded": ["a", ""], "failed": ["a"] } }),
            json!({}),
            &[
                "uncountedTerminatedPods.succeeded[1]: Invalid value: \"\": must not be empty",
                "uncountedTerminatedPods.failed[0]: Duplicate value: \"a\"",
            ],
        ),
        (
            &plain,
            json!({ "completedIndexes": "1" }),
            json!({}),
            &[
                "completedIndexes: Invalid value: \"1\": cannot set non-empty completedIndexes when non-indexed completion mode",
            ],
        ),
        (
            &elastic,
            json!({ "completedIndexes": "1-9" }),
            json!({}),
            &[
                "completedIndexes: Invalid value: \"1-9\": error parsing completedIndexes: too large index: \"9\"",
            ],
        ),
        (
            &elastic,
            json!({ "failedIndexes": "1" }),
            json!({}),
            &[
                "failedIndexes: Invalid value: \"1\": cannot set non-null failedIndexes when backoffLimitPerIndex is null",
            ],
        ),
    ] {
        assert_eq!(status_errors(spec.clone(), new.clone(), old), expected, "{new}");
    }
    let limited = merged(elastic, json!({ "backoffLimitPerIndex": 1 }));
    assert_eq!(
        status_errors(limited, json!({ "completedIndexes": "0-2", "failedIndexes": "2,4" }), json!({})),
        ["failedIndexes: Invalid value: \"2,4\": failedIndexes and completedIndexes overlap at index: 2"]
    );
}

fn cron_job(spec: Value) -> Vec<String> {
    let template =
        json!({ "spec": { "restartPolicy": "Never", "containers": [{ "name": "a", "image": "x" }] } });
    let base = json!({ "schedule": "*/5 * * * *", "jobTemplate": { "spec": { "template": template } } });
    strip(
        "spec.",
        errors("batch", "CronJob", json!({ "metadata": { "name": "c" }, "spec": merged(base, spec) })),
    )
}

#[test]
fn a_cron_job_has_a_schedule_in_a_time_zone_that_exists() {
    check(
        cron_job,
        vec![
            (json!({}), &[]),
            (json!({ "schedule": "@hourly", "timeZone": "America/Argentina/Buenos_Aires" }), &[]),
            (json!({ "timeZone": "Etc/GMT+5" }), &[]),
            (json!({ "schedule": "" }), &["schedule: Required value"]),
            (
                json!({ "schedule": "error" }),
                &["schedule: Invalid value: \"error\": expected exactly 5 fields, found 1: [error]"],
            ),
            (
                json!({ "schedule": "TZ=UTC 0 * * * *" }),
                &[
                    "schedule: Invalid value: \"TZ=UTC 0 * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
                ],
            ),
            (
                json!({ "timeZone": "" }),
                &["timeZone: Invalid value: \"\": timeZone must be nil or non-empty string"],
            ),
            (
                json!({ "timeZone": "Mars/Base" }),
                &["timeZone: Invalid value: \"Mars/Base\": unknown time zone Mars/Base"],
            ),
            (
                json!({ "timeZone": "europe/berlin" }),
                &["timeZone: Invalid value: \"europe/berlin\": unknown time zone europe/berlin"],
            ),
            (
                json!({ "timeZone": "../UTC" }),
                &["timeZone: Invalid value: \"../UTC\": unknown time zone ../UTC"],
            ),
            (
                json!({ "timeZone": "Local" }),
                &[
                    "timeZone: Invalid value: \"Local\": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
                ],
            ),
        ],
    );
}

#[test]
fn a_cron_job_says_what_its_jobs_are() {
    let job = |over: Value| {
        let template =
            json!({ "spec": { "restartPolicy": "Never", "containers": [{ "name": "a", "image": "x" }] } });
        json!({ "jobTemplate": { "spec": merged(json!({ "template": template }), over) } })
    };
    check(
        cron_job,
        vec![
            (
                json!({ "concurrencyPolicy": "Queue" }),
                &[
                    "concurrencyPolicy: Unsupported value: \"Queue\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
                ],
            ),
            (
                json!({ "startingDeadlineSeconds": -1, "successfulJobsHistoryLimit": -1, "failedJobsHistoryLimit": -1 }),
                &[
                    "startingDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0",
                    "successfulJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0",
                    "failedJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0",
                ],
            ),
            (
                job(json!({ "selector": { "matchLabels": { "a": "b" } }, "manualSelector": true })),
                &[
                    "jobTemplate.spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\"}}: `selector` will be auto-generated",
                    "jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\"",
                ],
            ),
            (
                job(json!({ "completions": -1 })),
                &["jobTemplate.spec.completions: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                json!({ "jobTemplate": { "spec": { "template": { "spec": { "containers": [{ "name": "a", "image": "x" }] } } } } }),
                &[
                    "jobTemplate.spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
                ],
            ),
        ],
    );
    let long = "c".repeat(53);
    let object = json!({ "metadata": { "name": long }, "spec": { "schedule": "@daily", "jobTemplate": job(json!({}))["jobTemplate"] } });
    assert_eq!(
        errors("batch", "CronJob", object),
        [format!("metadata.name: Invalid value: \"{long}\": must be no more than 52 characters")]
    );
}
