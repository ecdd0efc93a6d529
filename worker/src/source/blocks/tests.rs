use std::time::Duration;

use proptest::prelude::*;

use crate::source::test_server::{TestServer, answer};
use crate::source::{BlockOptions, MAX_READ_LEN, Source, SourceError, SourceLocation, SourceOptions};

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 % 251) as u8).collect()
}

fn options(blocks: BlockOptions) -> SourceOptions {
    let mut options = SourceOptions { file: blocks, remote: blocks, ..SourceOptions::default() };
    options.network.first_delay = Duration::from_millis(1);
    options
}

async fn open_file(len: usize, blocks: BlockOptions) -> (tempfile::NamedTempFile, Source) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content(len)).unwrap();
    let location = SourceLocation::from_os(file.path().as_os_str()).unwrap();
    let source = Source::open(&location, options(blocks)).await.unwrap();
    (file, source)
}

async fn open_remote(server: &TestServer, blocks: BlockOptions) -> Source {
    let location = SourceLocation::parse(&server.url("/match.mp4")).unwrap();
    Source::open(&location, options(blocks)).await.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_reads_equal_slices_of_the_file(
        file_len in 0_usize..3000,
        block_len in 1_usize..700,
        cache_bytes in 0_usize..2000,
        read_ahead in 0_usize..5,
        reads in prop::collection::vec((0_u64..3500, 0_usize..1500, 0_usize..3), 1..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let expected = content(file_len);
            let (_file, source) = open_file(file_len, BlockOptions { block_len, cache_bytes, read_ahead }).await;
            let mut readers = [source.reader(), source.reader()];
            for (offset, len, who) in reads {
                let first = usize::try_from(offset).unwrap().min(file_len);
                let slice = &expected[first..(first + len).min(file_len)];
                let read = match readers.get_mut(who) {
                    Some(reader) => reader.read_at(offset, len).await,
                    None => source.read_at(offset, len).await,
                };
                assert_eq!(read.unwrap(), slice);
            }
            assert!(source.read_at(u64::MAX, 10).await.unwrap().is_empty());
        });
    }
}

#[tokio::test]
async fn memory_stays_within_the_budget_however_long_the_source() {
    let blocks = BlockOptions { block_len: 1000, cache_bytes: 8000, read_ahead: 4 };
    let (_file, source) = open_file(300_500, blocks).await;
    let mut readers = [source.reader(), source.reader()];
    let expected = content(300_500);
    let mut most = 0;
    for offset in (0..150_000).step_by(700) {
        for (reader, start) in readers.iter_mut().zip([0, 150_000]) {
            let at = start + offset;
            let read = reader.read_at(at as u64, 700).await.unwrap();
            assert_eq!(read, expected[at..at + 700]);
            most = most.max(source.blocks.held_bytes());
        }
    }
    assert!((4000..=8000).contains(&most), "{most}");
}

#[tokio::test]
async fn readers_of_one_block_share_one_fetch() {
    let server = TestServer::start(content(5000)).await;
    let source = open_remote(&server, BlockOptions { block_len: 1000, cache_bytes: 5000, read_ahead: 0 }).await;
    server.set(|behaviour| behaviour.delay = Duration::from_millis(50));
    let mut reads = tokio::task::JoinSet::new();
    for reader in 0..8_u64 {
        let source = source.clone();
        reads.spawn(async move { source.read_at(2000 + reader * 100, 100).await.unwrap().len() });
    }
    assert_eq!(reads.join_all().await, [100; 8]);
    // One to open, one for all.
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn readers_of_one_block_share_its_failure_and_none_keeps_it() {
    let server = TestServer::start(content(5000)).await;
    let source = open_remote(&server, BlockOptions { block_len: 1000, cache_bytes: 5000, read_ahead: 0 }).await;
    server.set(|behaviour| {
        behaviour.delay = Duration::from_millis(20);
        behaviour.answers.push_back(answer(403, ""));
    });
    let (first, second) = tokio::join!(source.read_at(1000, 1), source.read_at(1001, 1));
    assert!(matches!(first, Err(SourceError::Forbidden { .. })));
    assert!(matches!(second, Err(SourceError::Forbidden { .. })));
    assert_eq!(server.requests().len(), 2);
    assert_eq!(source.read_at(1000, 1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_reader_that_goes_away_leaves_its_fetch_to_the_others() {
    let server = TestServer::start(content(5000)).await;
    let source = open_remote(&server, BlockOptions { block_len: 1000, cache_bytes: 5000, read_ahead: 0 }).await;
    server.set(|behaviour| behaviour.delay = Duration::from_millis(50));
    let impatient = tokio::time::timeout(Duration::from_millis(10), source.read_at(3000, 10)).await;
    assert!(impatient.is_err());
    assert_eq!(source.read_at(3000, 10).await.unwrap(), content(5000)[3000..3010]);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn reading_on_from_a_slow_server_keeps_several_requests_under_way() {
    let server = TestServer::start(content(40_000)).await;
    let blocks = BlockOptions { block_len: 1000, cache_bytes: 20_000, read_ahead: 4 };
    let mut reader = open_remote(&server, blocks).await.reader();
    server.set(|behaviour| behaviour.delay = Duration::from_millis(10));
    for offset in (0..40_000).step_by(500) {
        assert_eq!(reader.read_at(offset as u64, 500).await.unwrap(), content(40_000)[offset..offset + 500]);
    }
    assert_eq!(server.requests().len(), 40, "every block once");
    assert!((3..=5).contains(&server.most_in_flight()), "{}", server.most_in_flight());
}

#[tokio::test]
async fn jumping_about_fetches_only_what_is_read() {
    let server = TestServer::start(content(100_000)).await;
    let blocks = BlockOptions { block_len: 1000, cache_bytes: 20_000, read_ahead: 4 };
    let mut reader = open_remote(&server, blocks).await.reader();
    // As a demuxer opens an MP4 whose index is at its end: the head, the index, the first samples.
    for offset in [0, 8, 99_500, 40, 50_000, 70_000, 30_000] {
        assert_eq!(reader.read_at(offset, 32).await.unwrap().len(), 32);
    }
    assert_eq!(server.requests().len(), 5);
    assert_eq!(server.most_in_flight(), 1);
}

#[tokio::test]
async fn readers_that_share_a_small_cache_fetch_less_ahead() {
    let blocks = BlockOptions { block_len: 1000, cache_bytes: 8000, read_ahead: 4 };
    let (_file, source) = open_file(10, blocks).await;
    for (readers, ahead) in [(1, 4), (2, 3), (4, 1), (8, 0), (20, 0)] {
        let open: Vec<_> = (0..readers).map(|_| source.reader()).collect();
        assert_eq!(source.blocks.max_ahead(), ahead, "{readers}");
        drop(open);
    }
}

#[tokio::test]
async fn nothing_is_fetched_for_a_source_that_was_dropped() {
    let server = TestServer::start(content(5000)).await;
    let source = open_remote(&server, BlockOptions { block_len: 1000, cache_bytes: 5000, read_ahead: 0 }).await;
    server.set(|behaviour| behaviour.answers.extend(vec![answer(503, ""); 5]));
    let pending = source.blocks.begin(1000, 1).unwrap();
    drop(source);
    assert!(matches!(pending.finish().await, Err(SourceError::Io { .. })));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn an_overlong_read_is_refused() {
    let (_file, source) = open_file(10, SourceOptions::default().file).await;
    assert_eq!(source.read_at(0, MAX_READ_LEN).await.unwrap().len(), 10);
    let error = source.read_at(0, MAX_READ_LEN + 1).await.unwrap_err();
    assert!(matches!(error, SourceError::ReadTooLong { .. }));
    assert!(!error.retryable());
}
