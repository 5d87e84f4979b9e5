//! The users and groups an image knows. Pure.

/// An image's `/etc/passwd` and `/etc/group`, as far as starting a process needs them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    users: Vec<User>,
    groups: Vec<Group>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

impl Accounts {
    /// Reads the two files; lines that are none are passed over, as the C library does.
    pub fn parse(passwd: &str, group: &str) -> Self {
        Self {
            users: passwd.lines().filter_map(user).collect(),
            groups: group.lines().filter_map(self::group).collect(),
        }
    }

    pub(super) fn user_by_name(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }

    pub(super) fn user_by_id(&self, uid: u32) -> Option<&User> {
        self.users.iter().find(|user| user.uid == uid)
    }

    pub(super) fn group_by_name(&self, name: &str) -> Option<u32> {
        self.groups.iter().find(|group| group.name == name).map(|group| group.gid)
    }

    /// The groups that list this user as a member.
    pub(super) fn groups_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = u32> + 'a {
        self.groups
            .iter()
            .filter(move |group| group.members.iter().any(|member| member == name))
            .map(|group| group.gid)
    }
}

fn user(line: &str) -> Option<User> {
    let mut fields = line.split(':');
    let (name, _password) = (fields.next()?, fields.next()?);
    let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(User { name: name.to_owned(), uid, gid })
}

fn group(line: &str) -> Option<Group> {
    let mut fields = line.split(':');
    let (name, _password, gid) = (fields.next()?, fields.next()?, fields.next()?.parse().ok()?);
    let members = fields.next().unwrap_or_default();
    let members = members.split(',').map(str::trim).filter(|member| !member.is_empty());
    Some(Group { name: name.to_owned(), gid, members: members.map(str::to_owned).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_no_accounts_are_passed_over() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n\n# comment\nbad:x:one:1\napp:x:1000:2000::/:\n";
        let accounts = Accounts::parse(passwd, "root:x:0:\nextra:x:3000:app, other\nnone\n");
        assert_eq!(accounts.users.len(), 2);
        assert_eq!(accounts.user_by_name("app").map(|user| (user.uid, user.gid)), Some((1000, 2000)));
        assert_eq!(accounts.user_by_id(0).map(|user| user.name.as_str()), Some("root"));
        assert_eq!(accounts.groups_of("other").collect::<Vec<_>>(), [3000]);
        assert_eq!(accounts.group_by_name("none"), None);
    }
}
