//! A small run of `./run chaos`.

use stories::tool;

#[test]
fn processes_killed_at_random_lose_no_job_and_break_no_promise() {
    let seed = std::env::var("TOUCHLINE_SEED").unwrap_or_else(|_| "20261121".to_owned());
    let kills = std::env::var("TOUCHLINE_CHAOS_KILLS").unwrap_or_else(|_| "20".to_owned());
    let chaos = stories::program("chaos").display().to_string();
    let output = tool(&chaos, &["--kills", &kills, "--seed", &seed, "--workers", "2", "--clip", "40"]);
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("violations = 0"));
}
