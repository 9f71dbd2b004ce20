//! Proxies, from the environment as curl reads it.
//!
//! Owns: `http_proxy`, `https_proxy`, `all_proxy`, `no_proxy` and their upper-case forms. Does not know: requests.

use ureq::Proxy;

/// The proxy for URLs of `scheme`, if the environment names one. Its exceptions (`no_proxy`, and this host itself)
/// are in it, so that each hop of a redirect is judged by itself.
pub(super) fn from_environment(scheme: &str, env: impl Fn(&str) -> Option<String>) -> Option<Proxy> {
    let first = |names: [&str; 2]| names.iter().find_map(|name| env(name).filter(|value| !value.is_empty()));
    let (lower, upper) = (format!("{scheme}_proxy"), format!("{}_PROXY", scheme.to_ascii_uppercase()));
    let url = first([&lower, &upper]).or_else(|| first(["all_proxy", "ALL_PROXY"]))?;
    let parsed = Proxy::new(&url).ok()?;
    let mut builder = Proxy::builder(parsed.protocol()).host(parsed.host()).port(parsed.port());
    if let Some(user) = parsed.username() {
        builder = builder.username(user);
    }
    if let Some(password) = parsed.password() {
        builder = builder.password(password);
    }
    for pattern in ["localhost", "127.*", "::1", "[::1]"] {
        builder = builder.no_proxy(pattern);
    }
    let exceptions = first(["no_proxy", "NO_PROXY"]).unwrap_or_default();
    for entry in exceptions.split([',', ' ']).filter(|entry| !entry.is_empty()) {
        builder = builder.no_proxy(entry);
        // `example.org` excepts its subdomains, too, and `.example.org` itself.
        if let Some(domain) = entry.strip_prefix('.') {
            builder = builder.no_proxy(domain);
        } else if !entry.contains('*') {
            builder = builder.no_proxy(&format!(".{entry}"));
        }
    }
    builder.build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(scheme: &str, env: &[(&str, &str)]) -> Option<Proxy> {
        from_environment(scheme, |name| {
            env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn each_scheme_has_its_own_proxy_and_all_proxy_stands_in() {
        let env = [("https_proxy", "http://a:1"), ("HTTP_PROXY", "b:2"), ("ALL_PROXY", "http://c:3")];
        let of = |scheme, env| proxy(scheme, env).map(|proxy| format!("{}:{}", proxy.host(), proxy.port()));
        assert_eq!(of("https", &env), Some("a:1".to_owned()));
        assert_eq!(of("http", &env), Some("b:2".to_owned()));
        assert_eq!(of("http", &env[2..]), Some("c:3".to_owned()));
        assert_eq!(of("https", &[("https_proxy", "")]), None);
        assert_eq!(of("https", &[]), None);
    }

    #[test]
    fn credentials_survive() {
        let proxy = proxy("https", &[("https_proxy", "http://me:p%40ss@a:1")]).unwrap();
        assert_eq!((proxy.username(), proxy.password()), (Some("me"), Some("p@ss")));
    }

    #[test]
    fn this_host_and_the_exceptions_are_reached_directly() {
        let env = [("https_proxy", "http://a:1"), ("no_proxy", "example.org, .inside,10.0.0.1")];
        let proxy = proxy("https", &env).unwrap();
        let direct = |host: &str| proxy.is_no_proxy(&format!("https://{host}/x").parse().unwrap());
        for host in
            ["127.0.0.1", "localhost", "[::1]", "example.org", "sub.example.org", "inside", "a.inside"]
        {
            assert!(direct(host), "{host}");
        }
        assert!(direct("10.0.0.1"));
        for host in ["notexample.org", "example.com", "10.0.0.10"] {
            assert!(!direct(host), "{host}");
        }
    }
}
