//! Alerts on what is done behind requests: the outbox, jobs, letters, pushes, agents, payments.

use super::rules::Severity::{Page, Ticket};
use super::rules::{Alert, Group};

/// The rules about work.
pub(super) fn group() -> Group {
    let alerts = outbox()
        .into_iter()
        .chain(queues())
        .chain(attempts())
        .chain(letters_and_pushes())
        .chain(agents())
        .chain(payments());
    Group { name: "work", recordings: Vec::new(), alerts: alerts.collect() }
}

fn outbox() -> Vec<Alert> {
    vec![
        Alert::new(Ticket, "OutboxGivenUp", "0m", "sum by (job) (increase(outbox_given_up_total[6h])) > 0")
            .says(
                "Effects of changes were given up ({{ $labels.job }})",
                "What a change causes (a publication, a job) failed for a day and is not tried any more.",
            )
            .fires(30, "", &[("outbox_given_up_total", "0x20 1x30")])
            .silent(30, &[("outbox_given_up_total", "4x40")])
            .edge_fires(
                "fires from the first one in a fresh process",
                10,
                "",
                &[("outbox_given_up_total", "_x5 0 1x20")],
            )
            .edge("takes no restart for one", 30, &[("outbox_given_up_total", "4x20 0x20")]),
        Alert::new(
            Ticket,
            "OutboxLags",
            "30m",
            "sum by (job) (increase(outbox_put_off_total[15m]))\n\
             - sum by (job) (increase(outbox_effects_total{when=\"later\"}[15m])) > 100",
        )
        .says(
            "More effects of changes are put off than made up for ({{ $labels.job }})",
            "Publications and jobs of changes come late, for three quarters of an hour.",
        )
        .fires(
            90,
            "",
            &[("outbox_put_off_total", "0+20x120"), (r#"outbox_effects_total{when="later"}"#, "0x120")],
        )
        .silent(
            90,
            &[("outbox_put_off_total", "0+20x120"), (r#"outbox_effects_total{when="later"}"#, "0+20x120")],
        )
        .edge(
            "is silent where an engine was away for minutes",
            90,
            &[
                ("outbox_put_off_total", "0x60 0+200x5 1000x60"),
                (r#"outbox_effects_total{when="later"}"#, "0x70 1000x60"),
            ],
        ),
    ]
}

fn queues() -> Vec<Alert> {
    let begun = "increase(job_start_delay_seconds_count[15m])";
    let waiting = r#"jobs_in_queue{state="waiting"}"#;
    vec![
        Alert::new(
            Page,
            "JobsStuck",
            "15m",
            format!(
                "sum by (job, queue) (min_over_time({waiting}[10m])) > 0\n\
                 unless sum by (job, queue) ({begun}) > 0"
            ),
        )
        .says(
            "No job of the queue {{ $labels.queue }} gets its turn",
            "Jobs wait and none was begun for half an hour: the queue is paused, or its workers hang.",
        )
        .fires(
            60,
            "queue=email",
            &[
                (r#"jobs_in_queue{queue="email",state="waiting"}"#, "0x10 5x60"),
                (r#"job_start_delay_seconds_count{queue="email"}"#, "0+1x10 10x60"),
            ],
        )
        .silent(
            60,
            &[
                (r#"jobs_in_queue{queue="email",state="waiting"}"#, "5x90"),
                (r#"job_start_delay_seconds_count{queue="email"}"#, "0+1x90"),
            ],
        )
        .edge(
            "is silent where nothing waits",
            60,
            &[
                (r#"jobs_in_queue{queue="email",state="waiting"}"#, "0x90"),
                (r#"job_start_delay_seconds_count{queue="email"}"#, "7x90"),
            ],
        )
        .edge_fires(
            "fires where none ever began in a fresh process",
            60,
            "queue=email",
            &[(r#"jobs_in_queue{queue="email",state="waiting"}"#, "5x90")],
        ),
        Alert::new(
            Ticket,
            "JobsLate",
            "10m",
            format!(
                "sum by (job, queue) (min_over_time({waiting}[10m])) >= 100\n\
                 and sum by (job, queue) ({waiting}) / (sum by (job, queue) ({begun}) / 15 > 0) > 10"
            ),
        )
        .says(
            "Jobs of the queue {{ $labels.queue }} come late",
            "At the pace of the last quarter of an hour, what waits takes longer than ten minutes.",
        )
        .fires(
            60,
            "queue=push",
            &[
                (r#"jobs_in_queue{queue="push",state="waiting"}"#, "0+100x90"),
                (r#"job_start_delay_seconds_count{queue="push"}"#, "0+50x90"),
            ],
        )
        .silent(
            60,
            &[
                (r#"jobs_in_queue{queue="push",state="waiting"}"#, "200x90"),
                (r#"job_start_delay_seconds_count{queue="push"}"#, "0+500x90"),
            ],
        )
        .edge(
            "is silent where many wait for a moment",
            32,
            &[
                (r#"jobs_in_queue{queue="push",state="waiting"}"#, "0x29 9000x3 0x60"),
                (r#"job_start_delay_seconds_count{queue="push"}"#, "0+50x90"),
            ],
        ),
    ]
}

fn attempts() -> Vec<Alert> {
    vec![
        Alert::new(
            Ticket,
            "DeadLetters",
            "0m",
            r#"sum by (job, job_type) (increase(background_jobs_total{status="dead"}[1h])) > 0"#,
        )
        .says(
            "Jobs ended as dead letters ({{ $labels.job_type }})",
            "They are out of attempts, or hopeless. They lie there until somebody retries or drops them.",
        )
        .fires(
            30,
            "job_type=notify",
            &[(r#"background_jobs_total{job_type="notify",status="dead"}"#, "0x20 2x30")],
        )
        .silent(30, &[(r#"background_jobs_total{job_type="notify",status="failed"}"#, "0+1x60")])
        .edge_fires(
            "fires from the first one in a fresh process",
            10,
            "job_type=notify",
            &[(r#"background_jobs_total{job_type="notify",status="dead"}"#, "_x5 0 1x20")],
        ),
        Alert::new(Ticket, "JobRunsTooLong", "5m", "max by (job, queue) (job_oldest_running_seconds) > 3600")
            .says(
                "An attempt of the queue {{ $labels.queue }} does not end",
                "It is under way for more than an hour, longer than any kind of job may take.",
            )
            .fires(30, "queue=email", &[(r#"job_oldest_running_seconds{queue="email"}"#, "3500+60x60")])
            .silent(30, &[(r#"job_oldest_running_seconds{queue="email"}"#, "60x60")])
            .edge(
                "is silent where attempts are long and end",
                30,
                &[(r#"job_oldest_running_seconds{queue="email"}"#, "1800+60x20 0x60")],
            ),
        Alert::new(
            Ticket,
            "ScheduleMissed",
            "0m",
            "sum by (job, schedule) (increase(schedule_missed_total[1h])) > 0",
        )
        .says(
            "The schedule {{ $labels.schedule }} was missed",
            "Occurrences were left out, as no node was there in time.",
        )
        .fires(
            30,
            "schedule=analytics_day",
            &[(r#"schedule_missed_total{schedule="analytics_day"}"#, "0x20 1x30")],
        )
        .silent(30, &[(r#"schedule_missed_total{schedule="analytics_day"}"#, "0x60")])
        .edge_fires(
            "fires in a fresh process",
            10,
            "schedule=analytics_day",
            &[(r#"schedule_missed_total{schedule="analytics_day"}"#, "_x5 0 3x20")],
        ),
    ]
}

fn letters_and_pushes() -> Vec<Alert> {
    let failed = r#"sum by (job) (increase(letters_total{status="failed"}[1h]))"#;
    vec![
        Alert::new(
            Ticket,
            "LettersMisconfigured",
            "0m",
            r#"sum by (job) (increase(letters_total{status="misconfigured"}[1h])) > 0"#,
        )
        .says(
            "The mail server refuses us ({{ $labels.job }})",
            "Password, sender or account are not accepted: no letter goes out, not even for new passwords.",
        )
        .fires(30, "", &[(r#"letters_total{letter="welcome",status="misconfigured"}"#, "0x20 1x30")])
        .silent(30, &[(r#"letters_total{letter="welcome",status="sent"}"#, "0+1x60")])
        .edge_fires(
            "fires from the first one in a fresh process",
            10,
            "",
            &[(r#"letters_total{letter="welcome",status="misconfigured"}"#, "_x5 0 1x20")],
        ),
        Alert::new(
            Ticket,
            "LettersFail",
            "15m",
            format!("{failed} / (sum by (job) (increase(letters_total[1h])) > 0) > 0.2\nand {failed} >= 10"),
        )
        .says(
            "Many letters fail ({{ $labels.job }})",
            "More than 20 % of an hour's attempts. They are tried again, and come late.",
        )
        .fires(
            90,
            "",
            &[
                (r#"letters_total{letter="welcome",status="sent"}"#, "0+1x120"),
                (r#"letters_total{letter="welcome",status="failed"}"#, "0+1x120"),
            ],
        )
        .silent(
            90,
            &[
                (r#"letters_total{letter="welcome",status="sent"}"#, "0+10x120"),
                (r#"letters_total{letter="welcome",status="failed"}"#, "0+1x120"),
            ],
        )
        .edge(
            "is silent where five of few fail",
            90,
            &[
                (r#"letters_total{letter="welcome",status="sent"}"#, "0x120"),
                (r#"letters_total{letter="welcome",status="failed"}"#, "0x60 5x60"),
            ],
        ),
        Alert::new(
            Ticket,
            "LettersUncertain",
            "0m",
            r#"sum by (job, letter) (increase(letters_total{status="uncertain"}[6h])) > 0"#,
        )
        .says(
            "Nobody knows whether letters went out ({{ $labels.letter }})",
            "The answer to them was lost. They are dead letters, and not sent a second time by themselves.",
        )
        .fires(
            30,
            "letter=welcome",
            &[(r#"letters_total{letter="welcome",status="uncertain"}"#, "0x20 1x30")],
        )
        .silent(30, &[(r#"letters_total{letter="welcome",status="failed"}"#, "0+1x60")])
        .edge(
            "takes no restart for one",
            30,
            &[(r#"letters_total{letter="welcome",status="uncertain"}"#, "3x20 0x20")],
        ),
        Alert::new(
            Ticket,
            "PushesMisconfigured",
            "0m",
            r#"sum by (job, provider) (increase(pushes_total{status="misconfigured"}[1h])) > 0"#,
        )
        .says(
            "{{ $labels.provider }} refuses our pushes",
            "The service does not accept the node's keys: no device of it is told anything.",
        )
        .fires(
            30,
            "provider=apns",
            &[(r#"pushes_total{provider="apns",status="misconfigured"}"#, "0x20 1x30")],
        )
        .silent(30, &[(r#"pushes_total{provider="apns",status="gone"}"#, "0+1x60")])
        .edge_fires(
            "fires from the first one in a fresh process",
            10,
            "provider=fcm",
            &[(r#"pushes_total{provider="fcm",status="misconfigured"}"#, "_x5 0 1x20")],
        ),
    ]
}

/// More than a fifth of a counter's increase has a bad status, and enough of it.
fn many_fail(counter: &str, bad: &str, by: &str, at_least: u32) -> String {
    let failed = format!("sum by ({by}) (increase({counter}{{{bad}}}[1h]))");
    format!("{failed} / (sum by ({by}) (increase({counter}[1h])) > 0) > 0.2\nand {failed} >= {at_least}")
}

fn agents() -> Vec<Alert> {
    let good = r#"status!="success""#;
    vec![
        Alert::new(
            Ticket,
            "AgentAnswersFail",
            "15m",
            many_fail("life_ceo_agent_invocations_total", good, "job, agent_id", 5),
        )
        .says(
            "Answers of the agent {{ $labels.agent_id }} fail",
            "More than 20 % of an hour's answers. People see that it does not answer.",
        )
        .fires(
            90,
            "agent_id=sleep",
            &[
                (r#"life_ceo_agent_invocations_total{agent_id="sleep",status="success"}"#, "0+1x120"),
                (r#"life_ceo_agent_invocations_total{agent_id="sleep",status="failed"}"#, "0+1x120"),
            ],
        )
        .silent(
            90,
            &[
                (r#"life_ceo_agent_invocations_total{agent_id="sleep",status="success"}"#, "0+10x120"),
                (r#"life_ceo_agent_invocations_total{agent_id="sleep",status="failed"}"#, "0+1x120"),
            ],
        )
        .edge(
            "is silent where the only answer fails",
            90,
            &[
                (r#"life_ceo_agent_invocations_total{agent_id="sleep",status="success"}"#, "0x120"),
                (r#"life_ceo_agent_invocations_total{agent_id="sleep",status="failed"}"#, "0x60 1x60"),
            ],
        ),
        Alert::new(
            Ticket,
            "AiRequestsFail",
            "15m",
            many_fail("ai_requests_total", good, "job, provider", 10),
        )
        .says(
            "Requests to the models of {{ $labels.provider }} fail",
            "More than 20 % of an hour's requests.",
        )
        .fires(
            90,
            "provider=openai",
            &[
                (r#"ai_requests_total{provider="openai",model="a",status="success"}"#, "0+1x120"),
                (r#"ai_requests_total{provider="openai",model="b",status="error"}"#, "0+1x120"),
            ],
        )
        .silent(
            90,
            &[
                (r#"ai_requests_total{provider="openai",model="a",status="success"}"#, "0+10x120"),
                (r#"ai_requests_total{provider="openai",model="a",status="error"}"#, "0+1x120"),
            ],
        )
        .edge(
            "is silent where a few of few fail",
            90,
            &[(r#"ai_requests_total{provider="openai",model="a",status="error"}"#, "0x60 5x60")],
        ),
        Alert::new(
            Ticket,
            "AgentQueueGrows",
            "10m",
            "min_over_time(agent_queue_depth[15m]) > 20 and deriv(agent_queue_depth[15m]) > 0",
        )
        .says(
            "More and more tasks wait for the agent {{ $labels.agent_id }}",
            "It gets more than it does, for a quarter of an hour and longer.",
        )
        .fires(60, "instance=a agent_id=sleep", &[(r#"agent_queue_depth{agent_id="sleep"}"#, "0+5x90")])
        .silent(60, &[(r#"agent_queue_depth{agent_id="sleep"}"#, "3x90")])
        .edge(
            "is silent where many wait and fewer each minute",
            60,
            &[(r#"agent_queue_depth{agent_id="sleep"}"#, "500-5x90")],
        ),
    ]
}

fn payments() -> Vec<Alert> {
    vec![
        Alert::new(
            Ticket,
            "PaymentsFail",
            "15m",
            many_fail("stripe_payments_total", r#"status="failed""#, "job, type", 5),
        )
        .says(
            "Payments fail ({{ $labels.type }})",
            "More than 20 % of an hour's payments: more than refused cards explain.",
        )
        .fires(
            90,
            "type=ticket",
            &[
                (r#"stripe_payments_total{type="ticket",status="succeeded"}"#, "0+1x120"),
                (r#"stripe_payments_total{type="ticket",status="failed"}"#, "0+1x120"),
            ],
        )
        .silent(
            90,
            &[
                (r#"stripe_payments_total{type="ticket",status="succeeded"}"#, "0+10x120"),
                (r#"stripe_payments_total{type="ticket",status="failed"}"#, "0+1x120"),
            ],
        )
        .edge(
            "is silent where two cards are refused in a quiet hour",
            90,
            &[
                (r#"stripe_payments_total{type="ticket",status="succeeded"}"#, "0x120"),
                (r#"stripe_payments_total{type="ticket",status="failed"}"#, "0x60 2x60"),
            ],
        ),
        Alert::new(
            Ticket,
            "RefundsFail",
            "0m",
            r#"sum by (job) (increase(stripe_payments_total{status="refund_failed"}[6h])) > 0"#,
        )
        .says(
            "Money that should go back could not be sent ({{ $labels.job }})",
            "A bank or Stripe refused a refund for good: somebody waits for money, and nothing tries it again.",
        )
        .fires(
            30,
            "",
            &[(r#"stripe_payments_total{type="ticket",status="refund_failed"}"#, "0x20 1x30")],
        )
        .silent(
            30,
            &[(r#"stripe_payments_total{type="ticket",status="refund_failed"}"#, "4x40")],
        )
        .edge_fires(
            "fires from the first one in a fresh process",
            10,
            "",
            &[(r#"stripe_payments_total{type="ticket",status="refund_failed"}"#, "_x5 0 1x20")],
        ),
    ]
}
