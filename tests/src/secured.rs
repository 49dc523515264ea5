//! A Kafka and a Cassandra with TLS, users and permissions, and the tables of configuration that reach them.
//!
//! Users, passwords and certificates are those at the head of `tests/services/kafka` and `cassandra`.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::services::Private;
use crate::{temp_dir, unique};

/// A broker that is asked with SASL on one port and with certificates on the other.
pub struct SecureKafka {
    /// The service.
    pub private: Private,
    dir: TempDir,
}

impl SecureKafka {
    /// Starts it.
    #[track_caller]
    pub fn start() -> Self {
        Self { private: Private::kafka(&["--secure"]), dir: temp_dir("secure") }
    }

    /// A file with this text.
    pub fn file(&self, text: &str) -> PathBuf {
        file(&self.dir, text)
    }

    /// `[kafka]` for this user in this mechanism.
    #[track_caller]
    pub fn user(&self, user: &str, mechanism: &str, secret: &str) -> String {
        let file = self.file(secret).display().to_string();
        let who = if mechanism == "OAUTHBEARER" {
            format!("token = {{ file = \"{file}\" }}")
        } else {
            format!("username = \"{user}\", password = {{ file = \"{file}\" }}")
        };
        format!(
            "[kafka]\nbrokers = [\"{}\"]\ntls = {{ ca_file = \"{}\" }}\n\
             sasl = {{ mechanism = \"{mechanism}\", {who} }}\n",
            self.private.env("KAFKA_BOOTSTRAP"),
            self.private.env("KAFKA_CA"),
        )
    }

    /// `[kafka]` for whom this certificate names; none shows no certificate.
    #[track_caller]
    pub fn certificate(&self, name: Option<&str>) -> String {
        let certs = self.private.env("KAFKA_CERTS");
        let own = name.map_or(String::new(), |name| {
            format!(", cert_file = \"{certs}/{name}.pem\", key_file = \"{certs}/{name}.key\"")
        });
        format!(
            "[kafka]\nbrokers = [\"{}\"]\ntls = {{ ca_file = \"{}\"{own} }}\n",
            self.private.env("KAFKA_BOOTSTRAP_MTLS"),
            self.private.env("KAFKA_CA"),
        )
    }
}

/// A node that wants TLS, a certificate and a password.
pub struct SecureCassandra {
    /// The service.
    pub private: Private,
    dir: TempDir,
}

/// How a Cassandra is reached.
#[derive(Debug, Clone, Copy)]
pub struct Login<'a> {
    /// Keyspace.
    pub keyspace: &'a str,
    /// User.
    pub user: &'a str,
    /// Its password.
    pub password: &'a str,
    /// Name of the certificate that is shown; none shows none.
    pub certificate: Option<&'a str>,
    /// Name of the authority that is trusted.
    pub authority: &'a str,
}

impl<'a> Login<'a> {
    /// As `user` with its own password, and a certificate that the node takes.
    pub fn sound(keyspace: &'a str, user: &'a str, password: &'a str) -> Self {
        Self { keyspace, user, password, certificate: Some("sink"), authority: "ca" }
    }
}

impl SecureCassandra {
    /// Starts it.
    #[track_caller]
    pub fn start() -> Self {
        let private = Private::cassandra(&["--secure", "--mutual"]);
        Self { private, dir: temp_dir("secure") }
    }

    /// `[store.cassandra]` for this login.
    #[track_caller]
    pub fn store(&self, login: Login<'_>) -> String {
        let certs = self.private.env("CASSANDRA_CERTS");
        let own = login.certificate.map_or(String::new(), |name| {
            format!("cert_file = \"{certs}/{name}.pem\"\nkey_file = \"{certs}/{name}.key\"\n")
        });
        let password = file(&self.dir, login.password);
        format!(
            "[store.cassandra]\ncontact_points = [\"{}\"]\nkeyspace = \"{}\"\n\
             replication = {{ dc1 = 1 }}\nusername = \"{}\"\npassword = {{ file = \"{}\" }}\n\
             [store.cassandra.tls]\nca_file = \"{certs}/{}.pem\"\n{own}",
            self.private.env("CASSANDRA_CONTACT_POINTS"),
            login.keyspace,
            login.user,
            password.display(),
            login.authority,
        )
    }

    /// Runs a statement as the super user; what the tool prints.
    #[track_caller]
    pub fn cql(&self, statement: &str) -> String {
        self.private.script("cql", &[statement])
    }
}

fn file(dir: &TempDir, text: &str) -> PathBuf {
    let file = dir.path().join(unique("secret"));
    fs::write(&file, text).unwrap();
    file
}
