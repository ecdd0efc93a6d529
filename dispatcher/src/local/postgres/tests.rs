use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

fn start(dir: &Path) -> LocalPostgres {
    LocalPostgres::start(dir).unwrap_or_else(|e| panic!("{e}: {:?}", std::error::Error::source(&e)))
}

fn psql(url: &str, sql: &str) -> Command {
    let mut command = Command::new("psql");
    command.args(["-qAtX", url, "-c", sql]);
    command
}

fn query(server: &LocalPostgres, sql: &str) -> String {
    let output = psql(&server.url("postgres"), sql).output().expect("`apt-get install postgresql-client`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A field of `/proc/PID/status`.
fn status(pid: u32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    text.lines().find_map(|l| l.strip_prefix(field)).unwrap().trim_start_matches(':').trim().to_owned()
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_full_disk_is_told_from_other_failures() {
    let told = |said: &str| PostgresError::failed("initdb", said.to_owned(), Path::new("/srv/fleet")).to_string();
    let full = told("could not extend file \"base/1\": No space left on device");
    assert_eq!(full, "no space is left for the database in /srv/fleet: free some, or choose another folder with --dir");
    assert_eq!(told("invalid option"), "initdb failed: invalid option");
}

#[test]
fn data_outlives_an_orderly_end_and_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // A dispatcher that was killed while it made the cluster leaves this.
    fs::create_dir_all(dir.path().join("postgres/data.part/base")).unwrap();
    let begun = Instant::now();
    let server = start(dir.path());
    println!("first start: {:?}", begun.elapsed());
    assert_eq!(query(&server, "show fsync; show server_encoding; show listen_addresses"), "on\nUTF8\n127.0.0.1");
    query(&server, "create table t (n int); insert into t values (1)");
    let begun = Instant::now();
    server.stop().unwrap();
    println!("stop: {:?}", begun.elapsed());

    let begun = Instant::now();
    let mut server = start(dir.path());
    println!("later start: {:?}", begun.elapsed());
    query(&server, "insert into t values (2)");
    signal(&[server.pid()], "KILL");
    wait_for("the end", || status(server.pid(), "State").starts_with('Z'));
    assert!(!server.is_running());
    let begun = Instant::now();
    let again = LocalPostgres::start_at(dir.path(), server.port()).unwrap();
    println!("start after a kill: {:?}", begun.elapsed());
    assert_eq!(query(&again, "select sum(n) from t"), "3");
    assert!(fs::read_to_string(dir.path().join("postgres/log.old")).unwrap().contains("starting PostgreSQL"));
    again.stop().unwrap();
}

#[test]
fn a_server_that_is_killed_at_work_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = start(dir.path());
    let endless = "select count(*) from generate_series(1, 40000) a, generate_series(1, 40000) b";
    let mut client = psql(&server.url("postgres"), endless).spawn().unwrap();
    let at_work = "select count(*) from pg_stat_activity where state = 'active' and query like '%40000%40000) b'";
    wait_for("the statement", || query(&server, at_work) == "1");
    signal(&[server.pid()], "KILL");
    wait_for("the end", || status(server.pid(), "State").starts_with('Z'));
    assert!(!server.is_running());
    let again = start(dir.path());
    assert_eq!(query(&again, "select 1"), "1");
    assert!(!client.wait().unwrap().success());
    again.stop().unwrap();
}

#[test]
fn a_second_server_in_the_same_folder_is_refused_and_the_first_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    // Both threads stay until both are through: a server ends with its thread.
    let both = std::sync::Barrier::new(2);
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let one = || {
            let outcome = LocalPostgres::start(dir.path());
            both.wait();
            outcome.map(|server| {
                let answer = query(&server, "select 1");
                server.stop().map(|()| answer)
            })
        };
        let threads = [scope.spawn(one), scope.spawn(one)];
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let refused = outcomes.iter().filter(|o| matches!(o, Err(PostgresError::InUse(_)))).count();
    let served = outcomes.iter().filter(|o| matches!(o, Ok(Ok(answer)) if answer == "1")).count();
    assert_eq!((refused, served), (1, 1), "{outcomes:?}");

    let first = start(dir.path());
    assert!(matches!(LocalPostgres::start(dir.path()), Err(PostgresError::InUse(_))));
    assert_eq!(query(&first, "select 1"), "1");
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    first.stop().unwrap();
    let outcome = LocalPostgres::start_at(dir.path(), port);
    assert!(matches!(outcome, Err(PostgresError::PortTaken(p)) if p == port), "{outcome:?}");
    start(dir.path()).stop().unwrap();
}

#[test]
fn a_server_of_an_earlier_run_is_ended_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut orphan = start(dir.path());
    query(&orphan, "create table t (n int)");
    orphan.unlock();
    // By another path, as the folder may be given in many ways.
    let link = dir.path().join("link");
    symlink(dir.path(), &link).unwrap();
    let server = start(&link);
    assert!(!orphan.is_running());
    assert!(fs::read_to_string(dir.path().join("postgres/log.old")).unwrap().contains("fast shutdown"));
    assert_eq!(query(&server, "select count(*) from t"), "0");
    server.stop().unwrap();
}

/// Not a test of its own: the process that `a_server_ends_with_its_dispatcher` kills.
#[test]
fn dispatcher_to_be_killed() {
    let Some(dir) = std::env::var_os("TOUCHLINE_TEST_KILLED") else { return };
    let server = start(Path::new(&dir));
    query(&server, "create table t (n int); insert into t values (1)");
    fs::write(Path::new(&dir).join("ready"), server.pid().to_string()).unwrap();
    std::thread::sleep(Duration::from_secs(120));
}

#[test]
fn a_server_ends_with_its_dispatcher() {
    let dir = tempfile::tempdir().unwrap();
    // Below folders that only their owner can enter, and deeper than a socket's path may be.
    let deep = dir.path().join("shut").join("d".repeat(120));
    fs::create_dir_all(&deep).unwrap();
    fs::set_permissions(dir.path().join("shut"), fs::Permissions::from_mode(0o700)).unwrap();
    let mut dispatcher = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "local::postgres::tests::dispatcher_to_be_killed"])
        .env("TOUCHLINE_TEST_KILLED", &deep)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let ready = deep.join("ready");
    wait_for("the server", || fs::read_to_string(&ready).is_ok_and(|t| !t.is_empty()));
    let pid: u32 = fs::read_to_string(&ready).unwrap().parse().unwrap();
    if is_root() {
        assert_ne!(status(pid, "Uid").split_whitespace().next(), Some("0"));
        assert_eq!(u64::from_str_radix(&status(pid, "CapEff"), 16), Ok(0b10), "the one capability that is needed");
    }
    dispatcher.kill().unwrap();
    dispatcher.wait().unwrap();
    let begun = Instant::now();
    wait_for("the server's end", || !Path::new(&format!("/proc/{pid}")).exists());
    println!("ended {:?} after its dispatcher", begun.elapsed());
    assert!(fs::read_to_string(deep.join("postgres/log")).unwrap().contains("fast shutdown"));
    let again = start(&deep);
    assert_eq!(query(&again, "select n from t"), "1");
    again.stop().unwrap();
}

#[test]
fn others_do_not_get_in_and_the_server_gets_no_more_than_it_needs() {
    let dir = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir_in("/var/tmp").unwrap();
    let server = start(dir.path());
    let wrong = server.url("postgres").replace(server.password(), "wrong");
    assert!(!psql(&wrong, "select 1").stderr(Stdio::null()).status().unwrap().success());
    let home = dir.path().join("postgres");
    for secret in ["password", "log", "lock"] {
        assert_eq!(fs::metadata(home.join(secret)).unwrap().mode() & 0o777, 0o600, "{secret}");
    }
    assert!(!home.join("initial-password").exists());
    // A signal to our own group, as Ctrl-C sends, does not reach it.
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let group = stat.rsplit(')').next().unwrap().split_whitespace().nth(2).unwrap().to_owned();
    assert_eq!(group, server.pid().to_string());
    if is_root() {
        let (uid, gid) = (fs::metadata(&home).unwrap().uid(), fs::metadata(&home).unwrap().gid());
        assert_eq!((uid, gid), (0, 0), "the account could lay links here that we would follow");
        assert_eq!(u64::from_str_radix(&status(server.pid(), "CapEff"), 16), Ok(0), "every folder above is open");
        let environment = fs::read(format!("/proc/{}/environ", server.pid())).unwrap();
        assert!(!String::from_utf8_lossy(&environment).contains("CARGO"), "it may hold keys");
    }
    server.stop().unwrap();
}

#[test]
fn a_relative_folder_will_do_and_another_version_is_named() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let relative = PathBuf::from(dir.path().file_name().unwrap());
    start(&relative).stop().unwrap();
    fs::write(relative.join("postgres/data/PG_VERSION"), "7\n").unwrap();
    let error = LocalPostgres::start(&relative).unwrap_err();
    assert!(error.to_string().contains("apt-get install postgresql-7"), "{error}");
}
