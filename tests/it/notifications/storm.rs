//! Many answers at once: the host is told once, and by no letter.

use futures_util::future::join_all;
use serde_json::json;

use super::ladder::quiet_now;
use super::{Site, member};
use crate::jobs::counted;
use crate::mail::files;
use crate::push_service::{Browser, PushService, status};
use crate::server::until;

/// Waves of answers, and the guests of each.
const WAVES: usize = 3;
const GUESTS: usize = 100;

/// A7: the more there is to tell, the fewer words it takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a7_hundreds_of_answers_are_one_notification_one_push_and_no_letter() {
    let service = PushService::of_browsers(|_| status(201)).await;
    let site = Site::start().await;
    let (host, browser) = (site.server.register("host").await, Browser::new());
    until("the host is asked to confirm the address", async || {
        (files(&site.server).len() == 1).then_some(())
    })
    .await;
    site.register(&host, json!({"web": browser.subscription(&service.url("/host"))})).await;
    // However long the answers take here, the push waits for all of them.
    site.prefer(&host, quiet_now().0).await;
    let event = site.event(&host, "Milonga", None).await;
    let guests: Vec<_> = (0..WAVES * GUESTS).map(|number| member(&format!("guest-{number}"))).collect();
    for wave in guests.chunks(GUESTS) {
        join_all(wave.iter().map(|guest| site.answer(&event, guest, "going"))).await;
        site.tell_of_answers(&event).await;
    }
    let all = WAVES * GUESTS;
    let told = until("the host is told of all", async || {
        let listed = site.list(&host).await;
        assert!(listed.len() <= 1, "{listed:?}");
        listed.into_iter().find(|one| one["count"] == all)
    })
    .await;
    assert_eq!((told["thing"].as_str(), site.unread_count(&host).await), (Some(event.as_str()), 1));
    for kind in ["push", "digest"] {
        assert_eq!(site.delayed_jobs(kind, &host.id).await.len(), 1, "{kind}");
    }
    site.prefer(&host, json!({"quietHours": null})).await;
    assert_eq!(site.push_now(&host).await, None);
    let asked = service.asked();
    assert_eq!(asked.len(), 1);
    let text = &browser.read(&asked[0])["text"];
    assert_eq!(text, &format!("{all} new answers to Milonga"));
    // The reminders wait for the day before the event; nothing else is to be mailed.
    counted(&site.server, &site.root, [0, 1, 0, 0]).await;
    assert_eq!(files(&site.server).len(), 1, "the digest tells of it in its time");
}
