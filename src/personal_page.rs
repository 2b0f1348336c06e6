//! The page of the documentation that lists all stored fields by whose they are, made from the declarations of kinds.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use mundotango_storage::db::Fields;

use crate::schema::schema;

/// Set where the page is to be written anew.
const WRITE: &str = "MUNDOTANGO_WRITE_DOCS";

const HEAD: &str = "\
# Personal data

Made from the declarations of kinds and indexes; `MUNDOTANGO_WRITE_DOCS=1 cargo test -p mundotango --lib personal_page` writes it.

**What this is.** Below is what is stored, whose it is, and what export and deletion of an account do with it ([leaving.md](leaving.md)): both run off these declarations. Besides:

- Users read by the API what is theirs, and what others show them: a post that is not public is for its author, a booking, a payment and a conversation for their sides, calendars, devices, preferences and notifications for their user.
- The whole store is read by admins alone (`GET /api/admin/system/export`, backups) and by who may read the data folder or the engines. Backups are written for their owner alone (mode 0600).
- Passwords, tokens of logins and secrets of calendars are stored as hashes; addresses that take no mail as digests.

**Not in the tables:** histories and presence of channels (as long as their namespace says), logs, traces, letters in a mail server, pushes at their services, Stripe's own data, and backups, which each have the term that the operator gives them.

**How to read a field.** `id` is the partition's; `facts` and `head` are its own; `rows.a` are the rows whose keys begin with `a`, `keys.a` the rest of those keys. `*` stands for any key of a map or any item of a list, `**` for all that is below. Of several that
fit, one without `**` counts, and else the longest. A test (`tests/it/personal.rs`) stores data of all features and finds each field that is not declared.
";

fn table(page: &mut String, name: &str, fields: &[Fields]) {
    writeln!(page, "\n### {name}\n\n| field | whose | export | erasure |\n|---|---|---|---|").unwrap();
    for some in fields {
        let paths: Vec<_> = some.paths.iter().map(|path| format!("`{path}`")).collect();
        let treated = some.personal.map_or_else(
            || "nobody | – | –".to_owned(),
            |one| format!("{} | {} | {}", one.whose, one.export, one.erasure),
        );
        writeln!(page, "| {} | {treated} |", paths.join(", ")).unwrap();
    }
}

fn page() -> String {
    let schema = schema();
    let mut declared: Vec<_> = schema.declared().collect();
    declared.sort_unstable_by_key(|(name, ..)| *name);
    let mut page = HEAD.to_owned();
    for (title, part) in [("Kinds of partitions", "id"), ("Indexes", "list")] {
        writeln!(page, "\n## {title}").unwrap();
        for (name, _, fields) in declared.iter().filter(|(_, parts, _)| parts.contains(&part)) {
            table(&mut page, name, fields);
        }
    }
    page
}

#[test]
fn every_kind_and_index_declares_whose_its_fields_are() {
    let schema = schema();
    assert_eq!(schema.problems(), Vec::<String>::new());
    for (name, parts, fields) in schema.declared() {
        // What is stored has an id or a list at least.
        let first = parts[0];
        let is_declared = fields.iter().any(|some| some.paths.contains(&first));
        assert!(is_declared, "{name} does not declare {first:?}: say whose its fields are (CONTRIBUTING.md)");
        let is_empty = fields.iter().any(|some| some.paths.is_empty());
        assert!(!is_empty, "{name} declares a treatment of no field");
    }
}

#[test]
fn the_page_lists_all_personal_data() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/personal-data.md");
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, page()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page(),
        "docs/personal-data.md is not what the kinds declare: set {WRITE}=1 to write it anew"
    );
}
