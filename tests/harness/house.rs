//! A cluster with its agents, in a folder of its own, on ports of its own.

use crate::child::Child;
use crate::client::Client;
use crate::hold::HELD;
use crate::until::until;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;

/// The project that a new cluster has, and that the admin key is bound to.
pub const PROJECT: &str = "p4";
/// Enough for every job of a test.
const CREDITS: &str = "1000000.000000";

/// Nodes and agents of one cluster; all are killed, and their folders removed, when it is dropped.
pub struct House {
    // Dropped first: processes before their folders.
    nodes: BTreeMap<String, Running>,
    agents: Vec<(String, Child)>,
    folder: TempDir,
    pub admin_key: String,
    pub ca: String,
    folders: usize,
    /// What the settings of each node end with.
    settings: String,
    /// What each node has in its environment.
    environment: Vec<(String, String)>,
}

struct Running {
    process: Option<Child>,
    folder: String,
    url: String,
}

impl House {
    /// Founds a cluster of one node; its default project has credits.
    pub async fn found() -> House {
        House::found_with(String::new(), Vec::new()).await
    }

    /// The same, with more in the settings and the environment of each node.
    pub async fn found_with(settings: String, environment: Vec<(String, String)>) -> House {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let mut house = House {
            nodes: BTreeMap::new(),
            agents: Vec::new(),
            folder,
            admin_key: String::new(),
            ca: String::new(),
            folders: 0,
            settings,
            environment,
        };
        let place = house.place();
        let (code, founded) = Child::run(&["found", &place]).await;
        assert_eq!(code, 0, "{founded}");
        let text = |field: &str| founded[field].as_str().expect("found says it").to_owned();
        (house.admin_key, house.ca) = (text("admin_key"), text("ca"));
        house.settle(&place);
        house.run("n1", place).await;
        let credits = json!({"amount": CREDITS, "reference": "test"});
        let path = format!("/v1/projects/{PROJECT}/credits");
        house.client().post(&path, credits).await.is(201);
        house
    }

    /// Founds a cluster and grows it to three voters.
    pub async fn of_three() -> House {
        let mut house = House::found().await;
        house.grow().await;
        house.grow().await;
        house
    }

    /// A new folder's path.
    pub fn place(&mut self) -> String {
        self.folders += 1;
        let path = self.folder.path().join(self.folders.to_string());
        path.to_str().expect("temporary folders have UTF-8 names").to_owned()
    }

    /// Gives a new node its settings.
    fn settle(&self, folder: &str) {
        let path = format!("{folder}/node.toml");
        let made = std::fs::read_to_string(&path).expect("a node has settings");
        std::fs::write(&path, made + &self.settings).expect("they can be written");
    }

    async fn run(&mut self, node: &str, folder: String) {
        let mut process = Child::start_with(&["node", &folder], &self.environment);
        let ready = process.ready().await;
        let url = ready["url"].as_str().expect("a node says where it listens").to_owned();
        self.nodes.insert(node.to_owned(), Running { process: Some(process), folder, url });
    }

    /// A client of the first node that runs, with the admin key.
    pub fn client(&self) -> Client {
        let running = self.nodes.values().find(|n| n.process.is_some()).expect("a node runs");
        Client::new(&running.url, &self.ca, &self.admin_key)
    }

    /// A client of one node, with the admin key.
    pub fn client_of(&self, node: &str) -> Client {
        Client::new(&self.nodes[node].url, &self.ca, &self.admin_key)
    }

    /// Ids of the nodes that run.
    pub fn running(&self) -> Vec<String> {
        self.nodes.iter().filter(|(_, n)| n.process.is_some()).map(|(id, _)| id.clone()).collect()
    }

    /// The folder of a node.
    pub fn folder_of(&self, node: &str) -> &str {
        &self.nodes[node].folder
    }

    /// Adds a node through a token and waits until it votes; gives its id.
    pub async fn grow(&mut self) -> String {
        let token = self.client().post("/v1/cluster/members", json!({})).await.is(201).text("token");
        let node = self.join(&token).await;
        self.votes(&node).await;
        node
    }

    /// Makes a node of a token and runs it; gives its id.
    pub async fn join(&mut self, token: &str) -> String {
        let place = self.place();
        let (code, joined) = Child::run(&["join", &place, token]).await;
        assert_eq!(code, 0, "the node was not admitted");
        let node = joined["node"].as_str().expect("join says the node's id").to_owned();
        self.settle(&place);
        self.run(&node, place).await;
        node
    }

    /// Waits until a node is a voter and has caught up.
    pub async fn votes(&self, node: &str) {
        let client = self.client();
        until(&format!("{node} votes"), async || {
            let cluster = client.get("/v1/cluster").await;
            let members = (cluster.status == 200).then(|| cluster.json()["members"].clone())?;
            let member = members.as_array()?.iter().find(|m| m["id"] == node)?;
            (member["role"] != "learner" && cluster.json()["changing"] != true).then_some(())
        })
        .await;
    }

    /// The leader, once one is known to a node that runs.
    pub async fn leader(&self) -> String {
        until("a leader is known", async || {
            for node in self.running() {
                let answer = self.client_of(&node).get("/v1/cluster?consistency=local").await;
                let leader = answer.json()["leader"].as_str().map(str::to_owned);
                if let Some(leader) = leader.filter(|l| self.running().contains(l)) {
                    return Some(leader);
                }
            }
            None
        })
        .await
    }

    /// A running node that does not lead.
    pub async fn follower(&self) -> String {
        let leader = self.leader().await;
        self.running().into_iter().find(|n| *n != leader).expect("the house has followers")
    }

    /// Ends a node as a power cut would.
    pub async fn kill(&mut self, node: &str) {
        let process = self.nodes.get_mut(node).and_then(|n| n.process.take());
        process.expect("the node runs").kill().await;
    }

    /// Holds every reduction of a node when its document is made and not yet recorded, until the node is killed.
    pub fn hold_reductions(&self, node: &str) {
        std::fs::create_dir(Path::new(self.folder_of(node)).join(HELD)).expect("a folder can be made");
    }

    /// The reductions that a node is held in.
    pub fn held(&self, node: &str) -> Vec<String> {
        let held = std::fs::read_dir(Path::new(self.folder_of(node)).join(HELD)).expect("the node is held");
        held.map(|file| file.expect("it can be listed").file_name().to_string_lossy().into_owned()).collect()
    }

    /// Ends a node in good order.
    pub async fn drain(&mut self, node: &str) {
        let process = self.nodes.get_mut(node).and_then(|n| n.process.take());
        let status = process.expect("the node runs").drain().await;
        assert!(status.success(), "{status}");
    }

    /// Starts a node that ended, from the folder it left.
    pub async fn restart(&mut self, node: &str) {
        let folder = self.nodes[node].folder.clone();
        self.run(node, folder).await;
    }

    /// A provider's id.
    pub async fn provider(&self) -> String {
        self.client().post("/v1/providers", json!({"name": "test"})).await.is(201).text("id")
    }

    /// A one-time token for an agent.
    pub async fn agent_token(&self, provider: &str) -> String {
        let body = json!({"provider": provider, "ttl": "15m"});
        self.client().post("/v1/agents/enrolments", body).await.is(201).text("token")
    }

    /// Tries to make an agent of a token in a new folder: exit code, answer, folder.
    pub async fn enrol(&mut self, token: &str) -> (i32, Value, String) {
        let place = self.place();
        let (code, said) = Child::run(&["enrol", &place, token]).await;
        (code, said, place)
    }

    /// Enrols and runs agents; gives their ids.
    pub async fn agents(&mut self, count: usize, slots: u32) -> Vec<String> {
        let provider = self.provider().await;
        let mut ids = Vec::new();
        for _ in 0..count {
            let token = self.agent_token(&provider).await;
            let (code, said, place) = self.enrol(&token).await;
            assert_eq!(code, 0, "{said}");
            let mut process = Child::start(&["agent", &place, &slots.to_string()]);
            let id = process.ready().await["agent"].as_str().expect("an agent says who it is").to_owned();
            self.agents.push((id.clone(), process));
            ids.push(id);
        }
        ids
    }

    /// Ends an agent as a power cut would.
    pub async fn kill_agent(&mut self, agent: &str) {
        self.take_agent(agent).kill().await;
    }

    /// Ends an agent in good order.
    pub async fn drain_agent(&mut self, agent: &str) {
        let status = self.take_agent(agent).drain().await;
        assert!(status.success(), "{status}");
    }

    fn take_agent(&mut self, agent: &str) -> Child {
        let at = self.agents.iter().position(|(id, _)| id == agent).expect("the agent runs");
        self.agents.swap_remove(at).1
    }

    /// A key with these scopes for a project.
    pub async fn key(&self, project: &str, scopes: &[&str]) -> String {
        let body = json!({"project": project, "label": "test", "scopes": scopes});
        self.client().post("/v1/keys", body).await.is(201).text("key")
    }

    /// A new project without credits.
    pub async fn project(&self, name: &str) -> String {
        self.client().post("/v1/projects", json!({"name": name})).await.is(201).text("id")
    }

    /// The log's archive format, whole.
    pub async fn export(&self, client: &Client) -> Vec<u8> {
        let index = client.get("/v1/jobs").await.is(200).index().to_string();
        let path = "/v1/log/export?format=forge";
        let answer = client.send(reqwest::Method::GET, path, &[("forge-min-index", &*index)], None).await;
        answer.is(200).bytes.to_vec()
    }
}
