use proptest::prelude::*;

use super::*;

struct Bytes {
    bytes: Vec<u8>,
    reads: usize,
}

impl ReadAt for Bytes {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        let Some(rest) = usize::try_from(offset).ok().and_then(|at| self.bytes.get(at..)) else { return Ok(0) };
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}

fn make(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(body.len() + 8).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(kind);
    bytes.extend_from_slice(body);
    bytes
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_be_bytes()).collect()
}

/// A film whose `stbl` holds `inside`.
fn film(inside: &[Vec<u8>]) -> Vec<u8> {
    let nested = [b"stbl", b"minf", b"mdia", b"trak", b"moov"];
    let moov = nested.iter().fold(inside.concat(), |body, kind| make(kind, &body));
    [make(b"ftyp", b"isom\0\0\0\0"), make(b"mdat", &[7; 100]), moov].concat()
}

/// A `dref` whose one entry has these flags and a name.
fn place(flags: u32) -> Vec<u8> {
    let url = make(b"url ", &[words(&[flags]), b"/etc/passwd\0".to_vec()].concat());
    make(b"dref", &[words(&[0, 1]), url].concat())
}

/// An `stsd` of one kind of sample.
fn entry(kind: &[u8; 4]) -> Vec<u8> {
    make(b"stsd", &[words(&[0, 1]), make(kind, &[0; 78])].concat())
}

fn verdict(bytes: Vec<u8>) -> Result<Kind, FailureCode> {
    match check(&mut Bytes { bytes, reads: 0 }) {
        Ok(kind) => Ok(kind),
        Err(Refused::Because { code, .. }) => Err(code),
        Err(Refused::Unreadable(error)) => panic!("{error}"),
    }
}

#[test]
fn a_film_passes_with_its_index_in_front_or_behind() {
    let film = film(&[make(b"stts", &words(&[0, 1, 25, 512])), make(b"stsz", &words(&[0, 100, 4_000_000_000]))]);
    assert_eq!(verdict(film.clone()), Ok(Kind::Boxes));
    let (ftyp, rest) = film.split_at(16);
    let (mdat, moov) = rest.split_at(108);
    assert_eq!(verdict([ftyp, moov, mdat, b"garbage behind the index"].concat()), Ok(Kind::Boxes));
    // The media of a cut file ends before it says; its index is whole.
    assert_eq!(verdict([ftyp, moov, &mdat[..50]].concat()), Ok(Kind::Boxes));
}

#[test]
fn other_containers_are_left_to_others() {
    for bytes in [b"\x1aE\xdf\xa3 matroska".as_slice(), b"RIFF", b"", b"\0\0\0\x10junk and then ftyp"] {
        assert_eq!(verdict(bytes.to_vec()), Ok(Kind::Other));
    }
}

#[test]
fn a_table_that_claims_more_than_it_holds_is_refused() {
    for table in [
        make(b"stsz", &words(&[0, 0, 4_000_000_000])),
        make(b"stts", &words(&[0, 2, 25, 512])),
        make(b"co64", &words(&[0, u32::MAX])),
        make(b"stsc", &words(&[0])),
    ] {
        assert_eq!(verdict(film(&[table])), Err(FailureCode::Undecodable));
    }
    assert_eq!(verdict(film(&[make(b"elst", &words(&[0, 5000]))])), Err(FailureCode::LimitExceeded));
}

#[test]
fn what_no_match_film_needs_is_refused_by_name() {
    assert_eq!(verdict(film(&[entry(b"avc1")])), Ok(Kind::Boxes));
    assert_eq!(verdict(film(&[entry(b"encv")])), Err(FailureCode::Encrypted));
    assert_eq!(verdict(film(&[make(b"pssh", &[0; 20])])), Err(FailureCode::Encrypted));
    assert_eq!(verdict(film(&[make(b"cmov", &[0; 20])])), Err(FailureCode::UnsupportedFormat));
    assert_eq!(verdict(film(&[place(1)])), Ok(Kind::Boxes));
    assert_eq!(verdict(film(&[place(0)])), Err(FailureCode::UnsupportedFormat));
    let meta = make(b"meta", &[words(&[0]), make(b"iprp", &[])].concat());
    assert_eq!(verdict([make(b"ftyp", b"heic\0\0\0\0"), meta].concat()), Err(FailureCode::StillPicture));
}

#[test]
fn boxes_that_lie_about_their_size_are_refused() {
    let film = film(&[make(b"free", &[])]);
    for size in [4_u32, 9, u32::MAX] {
        let mut bytes = film.clone();
        let at = bytes.len() - 8;
        bytes[at..at + 4].copy_from_slice(&size.to_be_bytes());
        assert_eq!(verdict(bytes), Err(FailureCode::Undecodable), "{size}");
    }
    assert_eq!(verdict(make(b"ftyp", b"isom")), Err(FailureCode::NotMedia));
    assert_eq!(verdict([make(b"ftyp", b""), vec![0; 64]].concat()), Err(FailureCode::NotMedia));
}

#[test]
fn a_film_that_was_cut_off_is_told_from_what_never_was_one() {
    let film = film(&[make(b"free", &[])]);
    let index = film.windows(4).position(|w| w == b"moov").unwrap() - 4;
    for (cut, what) in [(40, "in the media"), (index, "before the index"), (film.len() - 4, "in the index")] {
        assert_eq!(verdict(film[..cut].to_vec()), Err(FailureCode::IncompleteFile), "{what}");
    }
    assert_eq!(verdict(film[..20].to_vec()), Err(FailureCode::NotMedia), "nothing of the film is left");
}

#[test]
fn bombs_of_boxes_end_at_their_limit() {
    let deep = (0..5000).fold(Vec::new(), |body, _| make(b"trak", &body));
    assert_eq!(verdict([make(b"ftyp", b"isom"), make(b"moov", &deep)].concat()), Err(FailureCode::LimitExceeded));
    assert_eq!(verdict(make(b"moov", &make(b"free", &[]).repeat(100_000))), Err(FailureCode::LimitExceeded));
    assert_eq!(verdict(make(b"moov", &make(b"trak", &[]).repeat(200))), Err(FailureCode::LimitExceeded));
    assert_eq!(verdict(make(b"free", &[]).repeat(100_000)), Err(FailureCode::NotMedia));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic_or_read_for_long(
        changes in prop::collection::vec((0_usize..400, any::<u8>()), 0..12),
        cut in 0_usize..50,
    ) {
        let tables = [make(b"stts", &words(&[0, 1, 25, 512])), make(b"elst", &words(&[0, 0]))];
        let mut bytes = film(&[place(1), entry(b"avc1"), tables.concat()]);
        for (at, value) in changes {
            let length = bytes.len();
            bytes[at % length] = value;
        }
        bytes.truncate(bytes.len().saturating_sub(cut));
        let mut source = Bytes { bytes, reads: 0 };
        if let Err(refused) = check(&mut source) {
            prop_assert!(!refused.to_string().is_empty());
        }
        prop_assert!(source.reads < 2000, "{} reads", source.reads);
    }
}
