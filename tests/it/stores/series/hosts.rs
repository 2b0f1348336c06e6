//! Hosts beside the owner of a series, as two nodes keep them.

use mundotango::community::events::rules::{CoHostRole, MOST_CO_HOSTS};
use mundotango::community::events::series::rules::{Day, Ends};
use mundotango::community::events::series::store::SeriesError;
use mundotango_protocol::new_id;

use super::{Node, title, weekly};

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
