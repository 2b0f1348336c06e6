//! What sends events: told from the header `User-Agent`, which is looked at and not kept.

use std::sync::LazyLock;

use regex::bytes::RegexSet;

use super::counts::Class;

/// Bytes of the header that are looked at.
const LOOKED_AT: usize = 512;

/// What programs call themselves, in small letters: words of most crawlers, and the names of those that use
/// none of them.
const BOTS: &[&str] = &[
    // "Cubot" makes telephones.
    r"(^|[^u])bot(\b|_)|[-_]bot",
    r"crawl|spider|scrap|slurp|archiver|fetcher|indexer",
    r"headless|phantomjs|puppeteer|playwright|selenium|lighthouse|pagespeed|gtmetrix",
    r"facebookexternalhit|facebookcatalog|whatsapp/|telegrambot|skypeuripreview|embedly|bitlybot|vkshare|pinterest/0",
    r"mediapartners-google|google-(inspectiontool|read-aloud|extended|safety)|apis-google|feedfetcher|googleother",
    r"chatgpt-user|oai-searchbot|anthropic-ai|claude-(web|user)|perplexity-user|cohere-ai|bytespider|meta-externalagent",
    r"uptimerobot|pingdom|statuscake|site24x7|monitoring|healthcheck|check_http|blackbox|datadog|newrelicpinger",
    r"ahrefs|semrush|mj12|dotbot|screaming frog|sistrix|dataforseo|zgrab|masscan|nmap|nikto|censys|expanse",
    r"feedly|feedbin|newsblur|inoreader|tiny tiny rss|\brss\b|ia_archiver|heritrix|wayback",
];

/// Libraries: a person's app may use one as well as a program, so nobody can tell.
const LIBRARIES: &[&str] = &[
    r"^(curl|wget|httpie|libwww|lwp|python|aiohttp|httpx|go-http-client|java|okhttp|axios|node|got |undici|ruby|faraday)",
    r"^(apache-httpclient|dart|guzzlehttp|php|perl|reqwest|postmanruntime|insomnia|k6|hey|ab)/",
];

/// What browsers and their views in apps call themselves.
const BROWSERS: &[&str] =
    &[r"^mozilla/\d+\.\d+ \(", r"^opera/\d", r"^mundotango[/-]", r"cfnetwork/.+ darwin/"];

#[expect(clippy::expect_used, reason = "the patterns are constants, which every test compiles")]
fn compiled(patterns: &[&str]) -> RegexSet {
    RegexSet::new(patterns.iter().map(|pattern| format!("(?-u){pattern}"))).expect("patterns compile")
}

/// What sent an event, by its `User-Agent`. Programs that say so come first: they name browsers as well.
pub(super) fn class_of(agent: Option<&str>) -> Class {
    static COMPILED: LazyLock<[RegexSet; 3]> =
        LazyLock::new(|| [compiled(BOTS), compiled(LIBRARIES), compiled(BROWSERS)]);
    let [bots, libraries, browsers] = &*COMPILED;
    let agent = agent.unwrap_or_default().trim();
    let agent = agent.get(..agent.floor_char_boundary(LOOKED_AT)).unwrap_or_default().to_ascii_lowercase();
    if bots.is_match(agent.as_bytes()) {
        Class::Bot
    } else if browsers.is_match(agent.as_bytes()) && !libraries.is_match(agent.as_bytes()) {
        Class::Human
    } else {
        Class::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t56_bots_are_told_from_people() {
        use Class::{Bot, Human, Unknown};
        for (agent, class) in [
            ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", Bot),
            (
                "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
                Bot,
            ),
            ("Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)", Bot),
            ("DuckDuckBot/1.1; (+http://duckduckgo.com/duckduckbot.html)", Bot),
            ("facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)", Bot),
            ("Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)", Bot),
            (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/120.0 Safari/537.36",
                Bot,
            ),
            (
                "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
                Bot,
            ),
            ("Mozilla/5.0 (compatible; Bytespider; spider-feedback@bytedance.com)", Bot),
            ("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", Bot),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.0.0 Safari/537.36",
                Human,
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
                Human,
            ),
            ("Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0", Human),
            // A telephone whose maker's name is a trap for the word.
            (
                "Mozilla/5.0 (Linux; Android 9; CUBOT P20) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/91.0 Mobile Safari/537.36",
                Human,
            ),
            ("MundoTango/3.1 CFNetwork/1410.0.3 Darwin/22.6.0", Human),
            ("curl/8.5.0", Unknown),
            ("python-requests/2.32", Unknown),
            ("okhttp/4.12.0", Unknown),
            ("", Unknown),
        ] {
            assert_eq!(class_of(Some(agent)), class, "{agent}");
        }
        assert_eq!(class_of(None), Unknown);
        assert_eq!(class_of(Some(&"é".repeat(600))), Unknown);
    }
}
