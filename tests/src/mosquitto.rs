//! A real MQTT broker, and its own clients.

use std::net::TcpStream;
use std::time::Duration;

use crate::paths::tool;
use crate::{Launch, Program, free_port};

/// A mosquitto of the test's own, on loopback. It keeps sessions and messages on disk, so that
/// `program.kill9()` and `program.restart()` behave as on a real gateway.
pub struct Mosquitto {
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// The broker.
    pub program: Program,
}

impl Mosquitto {
    /// Starts one.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// Starts one with more in its configuration, for example another listener.
    #[track_caller]
    pub fn start_with(more: &str) -> Self {
        let port = free_port();
        let launch = Launch::tool("mosquitto");
        // As root it would become a user that may not exist, nor write into our folder.
        let config = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\nautosave_interval 1\n\
             persistence true\npersistence_location {}/\n{more}",
            launch.dir().display()
        );
        let program = launch.file("mosquitto.conf", config).args(["-c", "mosquitto.conf"]).start();
        let mut mosquitto = Self { port, program };
        mosquitto.wait_ready();
        mosquitto
    }

    /// Waits until it takes connections, e.g. after a restart.
    #[track_caller]
    pub fn wait_ready(&mut self) {
        let port = self.port;
        self.program.wait("mosquitto to listen", Duration::from_secs(20), |_| {
            TcpStream::connect(("127.0.0.1", port)).map(drop).map_err(|e| e.to_string())
        });
    }

    /// Publishes one message and waits for the broker's answer to it.
    #[track_caller]
    pub fn publish(&self, topic: &str, payload: &[u8], qos: u8) {
        let launch = self.client("mosquitto_pub", topic, qos);
        launch.arg("-s").stdin(payload).run(Duration::from_secs(20)).ok();
    }

    /// Subscribes; the program's lines are `TOPIC PAYLOAD`. Comes back once the broker has
    /// confirmed the subscription, so nothing that is published from then on is missed.
    #[track_caller]
    pub fn subscribe(&self, topic: &str) -> Program {
        let mut program = self.client("mosquitto_sub", topic, 1).args(["-v", "-d"]).start();
        program.wait_line("Subscribed (mid", Duration::from_secs(20));
        program
    }

    fn client(&self, name: &str, topic: &str, qos: u8) -> Launch {
        let (port, qos) = (self.port.to_string(), qos.to_string());
        // By the line: into a pipe it would write by the block, and a line could wait for ever.
        let launch = Launch::at(name, tool(&["stdbuf"])).arg("-oL").arg(tool(&[name]));
        launch.args(["-h", "127.0.0.1", "-p", &port, "-q", &qos, "-t", topic])
    }
}
