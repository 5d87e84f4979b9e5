//! What every namespace has: the ServiceAccount `default` and the ConfigMap `kube-root-ca.crt` with the certificate of
//! the cluster's authority. Made where they are missing, corrected where they differ. PURE.

use std::collections::{BTreeMap, BTreeSet};

/// Name of the account of Pods that name none.
pub const ACCOUNT: &str = "default";
/// Name of the ConfigMap, and the key in it.
pub const ROOT_CA: &str = "kube-root-ca.crt";
/// The key in that ConfigMap.
pub const ROOT_CA_KEY: &str = "ca.crt";

/// What is seen, by namespace.
#[derive(Debug, Default)]
pub struct Seen {
    /// Namespaces that are not about to go.
    pub namespaces: BTreeSet<String>,
    /// Those that have the account.
    pub accounts: BTreeSet<String>,
    /// What the ConfigMap says.
    pub roots: BTreeMap<String, String>,
}

/// What is to be written in one namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The account is to be made.
    MakeAccount,
    /// The ConfigMap is to be made.
    MakeRoot,
    /// The ConfigMap says something else.
    CorrectRoot,
}

/// All that is due, given the certificate of the cluster's authority.
pub fn due<'a>(seen: &'a Seen, authority: &str) -> Vec<(&'a str, Due)> {
    let mut all = Vec::new();
    for namespace in &seen.namespaces {
        if !seen.accounts.contains(namespace) {
            all.push((namespace.as_str(), Due::MakeAccount));
        }
        match seen.roots.get(namespace) {
            None => all.push((namespace.as_str(), Due::MakeRoot)),
            Some(text) if text != authority => all.push((namespace.as_str(), Due::CorrectRoot)),
            Some(_) => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_made_and_what_differs_is_corrected_in_namespaces_that_stay() {
        let names = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        let seen = Seen {
            namespaces: names(&["a", "b", "c"]),
            accounts: names(&["a", "c", "gone"]),
            roots: [("a", "pem"), ("b", "other")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        };
        assert_eq!(
            due(&seen, "pem"),
            [("b", Due::MakeAccount), ("b", Due::CorrectRoot), ("c", Due::MakeRoot)]
        );
        assert_eq!(due(&Seen::default(), "pem"), []);
    }
}
