//! Hosts beside the owner of a series, as two nodes keep them.

use mundotango::community::events::rules::{CoHostRole, MOST_CO_HOSTS};
use mundotango::community::events::series::rules::{Day, Ends};
use mundotango::community::events::series::store::SeriesError;
use mundotango_protocol::new_id;

use super::super::{NO_EFFECTS, first};
use super::{ENOUGH, Node, cut_off, now, title, weekly};

pub(super) async fn hosts_go_along_when_a_series_is_divided(here: &Node, there: &Node) {
    let series = here.give(weekly(&[Day::Tuesday], Ends::After(6)), None).await;
    here.work(&series.id).await;
    let set = async |id: &str, user: &str, role| here.series.set_co_host(id, user, role).await;
    let door = Some(CoHostRole::Door);
    assert_eq!(set(&series.id, &series.facts.host_id, door).await.unwrap(), Some(false), "it owns it");
    assert_eq!(set("none", "eva", door).await.unwrap(), None);
    for role in [door, Some(CoHostRole::Editor)] {
        assert_eq!(set(&series.id, "eva", role).await.unwrap(), Some(true));
        assert_eq!(set(&series.id, "eva", role).await.unwrap(), Some(false), "said again");
    }
    for _ in 1..MOST_CO_HOSTS {
        set(&series.id, &new_id(), door).await.unwrap();
    }
    let full = set(&series.id, "ben", door).await;
    assert!(matches!(full, Err(SeriesError::TooManyHosts)), "{full:?}");
    let all = there.series.co_hosts(&series.id).await.unwrap();
    assert_eq!(all.len(), MOST_CO_HOSTS);
    assert!(all.contains(&("eva".to_owned(), CoHostRole::Editor)));

    let from = here.dates(&series.id).await.keys().nth(3).copied();
    let rest = here.change(&series.id, from, title("Gala")).await.unwrap().unwrap();
    // They are copied, so nobody is let out of one and stays in the other.
    let busy = set(&series.id, "eva", None).await;
    assert!(matches!(busy, Err(SeriesError::Dividing)), "{busy:?}");
    here.work(&series.id).await;
    there.work(&rest.id).await;
    assert_eq!(here.series.co_hosts(&rest.id).await.unwrap(), all);
    assert_eq!(set(&rest.id, "eva", None).await.unwrap(), Some(true));
    there.work(&series.id).await;
    assert_eq!(here.series.co_host(&rest.id, "eva").await.unwrap(), None, "nobody brings it back");
    assert_eq!(here.series.co_host(&series.id, "eva").await.unwrap(), Some(CoHostRole::Editor));
    assert_eq!(set(&rest.id, "ben", door).await.unwrap(), Some(true), "there is a place");
}

pub(super) async fn a_series_changes_hands_with_its_dates(here: &Node, there: &Node) {
    let series = here.give(weekly(&[Day::Tuesday], Ends::Never), None).await;
    let (id, maker) = (series.id.as_str(), series.facts.host_id.clone());
    let (bea, carla) = (new_id(), new_id());
    here.work(id).await;
    let before = here.dates(id).await;
    // One date was given away alone, and another one to who takes the series over.
    for (number, to) in [(1, &carla), (2, &bea)] {
        let event = &before.values().nth(number).unwrap().id;
        here.events.offer(event, Some(to.clone()), |_| NO_EFFECTS).await.unwrap();
        let taken = here.events.take_over(event, to, now(), |_| NO_EFFECTS).await.unwrap().unwrap();
        assert!(taken.is_given_away);
    }
    let offer = async |to: Option<&String>| {
        here.series.offer(id, to.cloned(), |_| NO_EFFECTS).await.unwrap().unwrap();
    };
    let take = async |user: &str| there.series.take_over(id, user, |_| NO_EFFECTS).await;
    offer(Some(&bea)).await;
    offer(None).await;
    let gone = take(&bea).await;
    assert!(matches!(gone, Err(SeriesError::NotOffered)), "{gone:?}");
    offer(Some(&carla)).await;
    offer(Some(&bea)).await;
    let late = take(&carla).await;
    assert!(matches!(late, Err(SeriesError::NotOffered)), "there is one offer: {late:?}");
    here.series.set_co_host(id, &bea, Some(CoHostRole::Door)).await.unwrap();
    let taken = take(&bea).await.unwrap().unwrap();
    assert_eq!((taken.owner(), taken.template().rev, taken.head.co_hosts), (bea.as_str(), 2, 1));
    assert_eq!(take(&bea).await.unwrap().unwrap(), taken, "taken again");
    assert_eq!(here.series.co_hosts(id).await.unwrap(), [(maker.clone(), CoHostRole::Editor)]);

    // Changed before any date has followed; and who works on it dies.
    here.change(id, None, title("Práctica")).await.unwrap();
    cut_off(there.worker.run(id, now(), ENOUGH), 8).await;
    tokio::join!(here.work(id), there.work(id));
    let followed = here.dates(id).await;
    assert_eq!(followed.len(), before.len());
    for (number, event) in followed.values().enumerate() {
        let (owner, title) = if number == 1 { (&carla, "Milonga") } else { (&bea, "Práctica") };
        assert_eq!((&event.host_id, event.title.as_str()), (owner, title), "{number}");
        assert_eq!(event.is_given_away, number == 1, "{number}");
    }
    let owned = async |user: &str| here.events.of_host(user, now(), first(100)).await.unwrap().items.len();
    assert_eq!((owned(&bea).await, owned(&carla).await, owned(&maker).await), (before.len() - 1, 1, 0));
    let later = "2031-02-10T12:00:00Z".parse().unwrap();
    assert!(here.worker.run(id, later, ENOUGH).await.unwrap());
    let grown = here.dates(id).await;
    assert!(grown.len() > before.len() && grown.values().next_back().unwrap().host_id == bea);

    // The rest is the owner's as well. Meanwhile the series stays with its owner.
    let from = grown.keys().nth(10).copied();
    let rest = here.change(id, from, title("Gala")).await.unwrap().unwrap();
    assert_eq!(rest.owner(), bea);
    offer(Some(&carla)).await;
    let busy = take(&carla).await;
    assert!(matches!(busy, Err(SeriesError::Dividing)), "{busy:?}");
    here.work(id).await;
    there.work(&rest.id).await;
    assert_eq!(there.series.co_hosts(&rest.id).await.unwrap(), [(maker, CoHostRole::Editor)]);
    let galas = here.dates(&rest.id).await;
    assert!(galas.values().all(|event| event.host_id == bea && event.title == "Gala"));
    assert_eq!(take(&carla).await.unwrap().unwrap().owner(), carla);
    here.work(id).await;
    assert!(here.dates(id).await.values().all(|event| event.host_id == carla && !event.is_given_away));
    assert!(here.dates(&rest.id).await.values().all(|event| event.host_id == bea));
}
