//! Whether what an encoder made shows what it was given: some of its key frames are decoded again, on the CPU, and
//! compared. A GPU that fails does so silently and at full speed, with black, frozen or torn pictures.

use std::collections::VecDeque;

use fleet::failure::FailureCode;
use media::decode::Decoder;
use media::demux::StreamParameters;
use media::encode::Encoder;
use media::frame::PictureShape;
use media::graph::Graph;
use media::{Frame, Packet, Received};

use super::EngineError;
use super::video::to_rgb;
use crate::guard::TASK_DB;

/// Brightness alone, small: what a wrong picture differs in, and a coarse one does not.
const LOOK: &str = "scale=160:90:flags=area,format=gray";
/// For pictures that are the same.
const SAME_DB: f64 = 100.0;
/// From here on two coded pictures are one, and below the other two given ones differ.
const STILL_DB: f64 = 50.0;
/// See [`STILL_DB`].
const MOVED_DB: f64 = 35.0;

/// Keeps some of the frames that go into an encoder until their packets come out.
pub(crate) struct Likeness {
    parameters: StreamParameters,
    waiting: VecDeque<(u64, Frame)>,
    looks: [Option<(PictureShape, Graph)>; 2],
    /// What was compared last: given and made.
    last: Option<(Vec<u8>, Vec<u8>)>,
}

impl Likeness {
    pub(crate) fn of(encoder: &Encoder) -> Result<Self, EngineError> {
        let parameters = StreamParameters::of_encoder(encoder).map_err(EngineError::internal)?;
        Ok(Self { parameters, waiting: VecDeque::new(), looks: [None, None], last: None })
    }

    /// Remembers a frame that will be a key frame.
    pub(crate) fn expect(&mut self, number: u64, frame: &Frame) -> Result<(), EngineError> {
        self.waiting.push_back((number, frame.share().map_err(EngineError::internal)?));
        Ok(())
    }

    /// Compares a packet with the frame of its number, when that was remembered. What differs fails the task before a
    /// segment with it is handed over.
    pub(crate) fn compare(&mut self, number: u64, packet: &Packet) -> Result<(), EngineError> {
        while self.waiting.front().is_some_and(|(waiting, _)| *waiting < number) {
            self.waiting.pop_front();
        }
        let Some((_, given)) = self.waiting.pop_front_if(|(waiting, _)| *waiting == number) else { return Ok(()) };
        let failed = |what: String| Err(EngineError::new(FailureCode::GuardFailed, format!("frame {number} {what}")));
        let Some(made) = decode(&self.parameters, packet) else { return failed("cannot be decoded again".to_owned()) };
        let [a, b] = &mut self.looks;
        let (given, made) = (look(a, &given)?, look(b, &made)?);
        let alike = ratio(&given, &made);
        if alike < TASK_DB {
            return failed(format!("shows something else than the film: {alike:.1} dB; {TASK_DB} are the least"));
        }
        if let Some((given_before, made_before)) = &self.last
            && ratio(made_before, &made) > STILL_DB
            && ratio(given_before, &given) < MOVED_DB
        {
            return failed("stands still while the film moves".to_owned());
        }
        self.last = Some((given, made));
        Ok(())
    }
}

fn decode(parameters: &StreamParameters, packet: &Packet) -> Option<Frame> {
    let mut decoder = Decoder::open(parameters, 1, None).ok()?;
    decoder.send(packet).ok()?;
    decoder.send_end().ok()?;
    match decoder.receive() {
        Ok(Received::Item(frame)) => Some(frame),
        _ => None,
    }
}

/// A small picture's brightness.
pub(crate) fn look(cache: &mut Option<(PictureShape, Graph)>, frame: &Frame) -> Result<Vec<u8>, EngineError> {
    to_rgb(cache, frame, LOOK)?.rgb24().map(|(_, _, pixels)| pixels).map_err(EngineError::internal)
}

/// Peak signal-to-noise ratio of two small pictures, in dB.
pub(crate) fn ratio(a: &[u8], b: &[u8]) -> f64 {
    if a.len() != b.len() || a.is_empty() {
        return 0.0;
    }
    let squares: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum();
    #[expect(clippy::cast_precision_loss, reason = "sums of a small picture")]
    let mean = squares as f64 / a.len() as f64;
    if mean == 0.0 { SAME_DB } else { (10.0 * (255.0 * 255.0 / mean).log10()).clamp(0.0, SAME_DB) }
}

#[cfg(test)]
mod tests {
    use media::Rational;
    use media::encode::VideoSettings;

    use super::*;

    #[test]
    fn an_encoder_that_shows_something_else_than_it_was_given_fails_its_task() {
        let film = |what: &str| {
            let mut graph = Graph::generate(&format!("{what}:s=320x180:r=25,format=yuv420p")).unwrap();
            move || match graph.pull(0).unwrap() {
                Received::Item(frame) => frame,
                other => panic!("{other:?}"),
            }
        };
        let (mut match_film, mut black) = (film("testsrc2=d=9"), film("color=c=black"));
        let settings = VideoSettings {
            encoder: "libx264".to_owned(),
            width: 320,
            height: 180,
            rate: Rational::new(25, 1),
            pixel_format: "yuv420p".to_owned(),
            bit_rate: 300_000,
            max_rate: 600_000,
            buffer_bits: 600_000,
            gop: 50,
            colour: [1; 4],
            options: vec![("preset".to_owned(), "ultrafast".to_owned())],
        };
        let encode = |frame: &mut Frame| {
            let mut encoder = Encoder::video(&settings, None).unwrap();
            let likeness = Likeness::of(&encoder).unwrap();
            frame.set_pts(0);
            encoder.send(frame).unwrap();
            encoder.send_end().unwrap();
            let Received::Item(packet) = encoder.receive().unwrap() else { panic!("no packet") };
            (likeness, packet)
        };
        // Claims that `packet` shows `frame`.
        let claim = |likeness: &mut Likeness, number, frame: &Frame, packet: &Packet| {
            likeness.expect(number, frame).unwrap();
            likeness.compare(number, packet).map_err(|e| e.code)
        };
        let (mut shown, mut dark) = (match_film(), black());
        let later = (0..100).map(|_| match_film()).last().unwrap();
        let (mut of_dark, dark_packet) = encode(&mut dark);
        assert_eq!(claim(&mut of_dark, 0, &dark, &dark_packet), Ok(()), "a black film may be black");
        assert_eq!(claim(&mut of_dark, 50, &dark, &dark_packet), Ok(()), "and stay so");
        assert_eq!(claim(&mut of_dark, 100, &shown, &dark_packet), Err(FailureCode::GuardFailed), "black");
        let (mut of_shown, shown_packet) = encode(&mut shown);
        assert_eq!(claim(&mut of_shown, 0, &shown, &shown_packet), Ok(()));
        assert_eq!(claim(&mut of_shown, 50, &later, &shown_packet), Err(FailureCode::GuardFailed), "frozen");
    }

    #[test]
    fn the_known_film_comes_out_right_through_x264() {
        let found = super::super::golden::run("libx264", None).unwrap();
        assert_eq!(found.frames, super::super::golden::FRAMES);
        assert!(found.worst_db > 35.0, "{found:?}");
    }

    #[test]
    fn the_same_is_alike_noise_nearly_and_black_is_not() {
        let picture: Vec<u8> = (0..3000_u32).map(|i| u8::try_from(i % 200).unwrap()).collect();
        let noisy: Vec<u8> = picture.iter().enumerate().map(|(i, p)| p + u8::try_from(i % 3).unwrap()).collect();
        assert!((ratio(&picture, &picture) - SAME_DB).abs() < 1e-9);
        assert!(ratio(&picture, &noisy) > 40.0);
        assert!(ratio(&picture, &vec![16; 3000]) < 12.0);
        assert!(ratio(&picture, &picture[1..]) < 1e-9);
    }
}
