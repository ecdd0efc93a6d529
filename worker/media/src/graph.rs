//! Filter graphs: one input, any number of outputs, on CPU or GPU.

use ffmpeg_next::ffi;

use crate::decode::SoundFormat;
use crate::device::{CudaDevice, GpuFrames};
use crate::error::{Error, Received, Result, c_string, check, no_memory, received};
use crate::{Frame, Rational};

/// A configured filter graph. Inputs and outputs are labelled `[in]`, `[out0]`, `[out1]`, … in its description.
#[derive(Debug)]
pub struct Graph {
    graph: *mut ffi::AVFilterGraph,
    source: *mut ffi::AVFilterContext,
    sinks: Vec<*mut ffi::AVFilterContext>,
}

// SAFETY: owned by this value alone; the filters belong to the graph.
unsafe impl Send for Graph {}

impl Graph {
    /// A graph for pictures shaped like `like`, whose times are in `time_base`; `hwupload` in it goes to `gpu`.
    ///
    /// # Errors
    /// The description does not parse, or its filters do not agree on formats.
    pub fn video(
        like: &Frame,
        time_base: Rational,
        description: &str,
        outputs: usize,
        gpu: Option<&CudaDevice>,
    ) -> Result<Self> {
        let raw = like.raw();
        let format = raw.format;
        Self::build("buffer", "buffersink", description, outputs, gpu, |source| {
            // SAFETY: the parameters are allocated by FFmpeg, filled with plain values and a borrowed reference that
            // the call copies, and freed here.
            unsafe {
                let parameters = ffi::av_buffersrc_parameters_alloc();
                if parameters.is_null() {
                    return Err(no_memory("build filter graph"));
                }
                (*parameters).format = format;
                (*parameters).width = raw.width;
                (*parameters).height = raw.height;
                (*parameters).time_base = time_base.into();
                (*parameters).sample_aspect_ratio = raw.sample_aspect_ratio;
                (*parameters).hw_frames_ctx = raw.hw_frames_ctx;
                let code = ffi::av_buffersrc_parameters_set(source, parameters);
                ffi::av_free(parameters.cast());
                check("build filter graph", code)?;
                check("build filter graph", ffi::avfilter_init_str(source, std::ptr::null())).map(drop)
            }
        })
    }

    /// A graph for sound.
    ///
    /// # Errors
    /// As [`video`](Self::video).
    pub fn audio(format: &SoundFormat, time_base: Rational, description: &str) -> Result<Self> {
        let layout =
            if format.layout.contains("channels") { format!("{}c", format.channels) } else { format.layout.clone() };
        let arguments = c_string(
            "build filter graph",
            &format!(
                "time_base={}/{}:sample_rate={}:sample_fmt={}:channel_layout={}",
                time_base.num, time_base.den, format.rate, format.format, layout
            ),
        )?;
        Self::build("abuffer", "abuffersink", description, 1, None, |source| {
            // SAFETY: the filter is allocated and not yet initialised; the text is valid for the call.
            check("build filter graph", unsafe { ffi::avfilter_init_str(source, arguments.as_ptr()) }).map(drop)
        })
    }

    /// A graph that makes its own pictures, for trying out encoders; it has no input and one output.
    ///
    /// # Errors
    /// As [`video`](Self::video).
    pub fn generate(description: &str) -> Result<Self> {
        let op = "build filter graph";
        let text = c_string(op, &format!("{description},buffersink@out0"))?;
        // SAFETY: the graph is owned by `graph` from its allocation on; parsing leaves no open ends in a description
        // that begins with a source and ends with a sink, and what it leaves is freed by `Ends`.
        unsafe {
            let pointer = ffi::avfilter_graph_alloc();
            if pointer.is_null() {
                return Err(no_memory(op));
            }
            let mut graph = Self { graph: pointer, source: std::ptr::null_mut(), sinks: Vec::new() };
            let (mut inputs, mut outputs) = (Ends(std::ptr::null_mut()), Ends(std::ptr::null_mut()));
            check(op, ffi::avfilter_graph_parse2(pointer, text.as_ptr(), &raw mut inputs.0, &raw mut outputs.0))?;
            check(op, ffi::avfilter_graph_config(pointer, std::ptr::null_mut()))?;
            let filters = std::slice::from_raw_parts((*pointer).filters, (*pointer).nb_filters as usize);
            let sink = filters.iter().copied().find(|f| (**f).nb_outputs == 0);
            graph.sinks.push(sink.ok_or_else(|| Error::new(op, ffi::AVERROR_FILTER_NOT_FOUND))?);
            Ok(graph)
        }
    }

    fn build(
        source_filter: &str,
        sink_filter: &str,
        description: &str,
        outputs: usize,
        gpu: Option<&CudaDevice>,
        init_source: impl FnOnce(*mut ffi::AVFilterContext) -> Result<()>,
    ) -> Result<Self> {
        let op = "build filter graph";
        let text = c_string(op, description)?;
        let find = |name: &str| -> Result<*const ffi::AVFilter> {
            let c_name = c_string(op, name)?;
            // SAFETY: the name is valid for the call; filters are static.
            let filter = unsafe { ffi::avfilter_get_by_name(c_name.as_ptr()) };
            if filter.is_null() { Err(Error::with(op, ffi::AVERROR_FILTER_NOT_FOUND, name)) } else { Ok(filter) }
        };
        let (source_filter, sink_filter) = (find(source_filter)?, find(sink_filter)?);
        // SAFETY: the graph is owned by `graph` from its allocation on and frees its filters with it; the in/out lists
        // are owned by `Ends` and freed on every path. Labels are copied with av_strdup as FFmpeg frees them.
        unsafe {
            let pointer = ffi::avfilter_graph_alloc();
            if pointer.is_null() {
                return Err(no_memory(op));
            }
            let mut graph = Self { graph: pointer, source: std::ptr::null_mut(), sinks: Vec::new() };
            // One slot is one thread: parallelism comes from chunks and renditions.
            (*pointer).nb_threads = 1;
            graph.source = ffi::avfilter_graph_alloc_filter(pointer, source_filter, c"in".as_ptr());
            if graph.source.is_null() {
                return Err(no_memory(op));
            }
            init_source(graph.source)?;

            let mut open_outputs = Ends(std::ptr::null_mut());
            open_outputs.push("in", graph.source)?;
            let mut open_inputs = Ends(std::ptr::null_mut());
            for i in (0..outputs).rev() {
                let label = format!("out{i}");
                let c_label = c_string(op, &label)?;
                let sink = ffi::avfilter_graph_alloc_filter(pointer, sink_filter, c_label.as_ptr());
                if sink.is_null() {
                    return Err(no_memory(op));
                }
                check(op, ffi::avfilter_init_str(sink, std::ptr::null()))?;
                open_inputs.push(&label, sink)?;
                graph.sinks.push(sink);
            }
            graph.sinks.reverse();
            let code = ffi::avfilter_graph_parse_ptr(
                pointer,
                text.as_ptr(),
                &raw mut open_inputs.0,
                &raw mut open_outputs.0,
                std::ptr::null_mut(),
            );
            let describe = |e: Error| Error::with(op, e.code, description);
            check(op, code).map_err(describe)?;
            if let Some(gpu) = gpu {
                // As FFmpeg's own command does it; each filter owns its reference.
                for filter in std::slice::from_raw_parts((*pointer).filters, (*pointer).nb_filters as usize) {
                    (**filter).hw_device_ctx = gpu.reference();
                }
            }
            check(op, ffi::avfilter_graph_config(pointer, std::ptr::null_mut())).map_err(describe)?;
            Ok(graph)
        }
    }

    /// Gives a frame and keeps the caller's reference.
    ///
    /// # Errors
    /// A filter fails.
    pub fn push(&mut self, frame: &Frame) -> Result<()> {
        // SAFETY: both are valid; KEEP_REF makes the graph take its own reference and leave ours alone.
        let code = unsafe {
            ffi::av_buffersrc_add_frame_flags(self.source, frame.as_ptr(), ffi::AV_BUFFERSRC_FLAG_KEEP_REF as i32)
        };
        check("filter", code).map(drop)
    }

    /// Says that no frame follows.
    ///
    /// # Errors
    /// A filter fails.
    pub fn push_end(&mut self) -> Result<()> {
        // SAFETY: a null frame means the end.
        check("filter", unsafe { ffi::av_buffersrc_add_frame_flags(self.source, std::ptr::null_mut(), 0) }).map(drop)
    }

    /// Takes a frame from output `index`.
    ///
    /// # Errors
    /// A filter fails.
    pub fn pull(&mut self, index: usize) -> Result<Received<Frame>> {
        let frame = Frame::new()?;
        // SAFETY: the sink belongs to this graph.
        let code = unsafe { ffi::av_buffersink_get_frame(self.sinks[index], frame.as_ptr()) };
        received("filter", code, frame)
    }

    /// Time base of output `index`.
    #[must_use]
    pub fn time_base(&self, index: usize) -> Rational {
        // SAFETY: the sink belongs to this configured graph.
        unsafe { ffi::av_buffersink_get_time_base(self.sinks[index]) }.into()
    }

    /// The GPU pool of output `index`; `None` when its pictures are in memory.
    #[must_use]
    pub fn gpu_frames(&self, index: usize) -> Option<GpuFrames> {
        // SAFETY: the sink belongs to this configured graph; the returned reference is borrowed and copied.
        unsafe { GpuFrames::from_borrowed(ffi::av_buffersink_get_hw_frames_ctx(self.sinks[index])) }
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: owned, freed once, with all its filters.
        unsafe { ffi::avfilter_graph_free(&raw mut self.graph) }
    }
}

/// A list of open ends of a graph that is being parsed.
struct Ends(*mut ffi::AVFilterInOut);

impl Ends {
    fn push(&mut self, label: &str, filter: *mut ffi::AVFilterContext) -> Result<()> {
        let label = c_string("build filter graph", label)?;
        // SAFETY: a fresh entry is filled and put in front of the list that this value owns.
        unsafe {
            let end = ffi::avfilter_inout_alloc();
            if end.is_null() {
                return Err(no_memory("build filter graph"));
            }
            (*end).name = ffi::av_strdup(label.as_ptr());
            (*end).filter_ctx = filter;
            (*end).pad_idx = 0;
            (*end).next = self.0;
            self.0 = end;
        }
        Ok(())
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        // SAFETY: owned; parsing leaves what it did not take, possibly nothing.
        unsafe { ffi::avfilter_inout_free(&raw mut self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Frame {
        let mut graph = Graph::generate("testsrc2=s=320x180:r=25,format=yuv420p").unwrap();
        match graph.pull(0).unwrap() {
            Received::Item(frame) => frame,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_cascade_gives_every_size_for_every_picture() {
        let source = picture();
        let description = "[in]zscale=w=160:h=90:f=lanczos,split[out0][c0];[c0]zscale=w=80:h=46:f=lanczos[out1]";
        let mut graph = Graph::video(&source, Rational::new(1, 1000), description, 2, None).unwrap();
        for _ in 0..3 {
            graph.push(&source).unwrap();
            for (index, size) in [(160, 90), (80, 46)].into_iter().enumerate() {
                let Received::Item(frame) = graph.pull(index).unwrap() else { panic!("no frame") };
                assert_eq!((frame.shape().width, frame.shape().height), size);
            }
            assert!(matches!(graph.pull(0).unwrap(), Received::NeedInput));
        }
    }

    #[test]
    fn a_bad_description_is_an_error_that_shows_it() {
        let error = Graph::video(&picture(), Rational::new(1, 25), "[in]no_such_filter[out0]", 1, None).unwrap_err();
        assert!(error.to_string().contains("no_such_filter"), "{error}");
    }
}
