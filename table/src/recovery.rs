//! What the runtime starts from: the tables, sources and jobs of the catalog, built again.
//!
//! Invariant: nothing of one object prevents the start. A source whose connector cannot be built, or a job whose
//! plan cannot be read, is *broken*: it is left out, jobs that read it start as failed, and whoever asks for it
//! is told why.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weir_catalog::{CatalogSnapshot, Object, ObjectKind, SourceDef, TableDef, WatermarkDef};
use weir_common::seam::FileSystem;
use weir_common::{Error, ObjectId, Result};
use weir_connector::{Sink, Source};
use weir_runtime::{Alignment, JobGraph, Recovered, SourceSpec, TableSpec, TimeSpec};

use crate::indexes::relation_index;

/// Why each broken object does not run.
pub type Broken = BTreeMap<ObjectId, Error>;

/// Builds everything that can be built, in the order of ids, which is an order of dependencies.
pub fn recover(catalog: &Arc<CatalogSnapshot>, fs: &Arc<dyn FileSystem>) -> (Recovered, Broken) {
    let mut recovered = Recovered::default();
    let mut broken = Broken::new();
    let built_in = catalog.object(ObjectId::DEAD_LETTERS);
    for object in built_in.into_iter().chain(catalog.user_objects()) {
        if let Err(error) = rebuild(catalog, object, fs, &mut recovered, &broken) {
            tracing::warn!(object = %object.name, state = error.state().0, "cannot be started: {error}");
            recovered.others.push(object.id);
            broken.insert(object.id, error);
        }
    }
    (recovered, broken)
}

/// A reader of something broken cannot run either.
fn check_inputs(catalog: &CatalogSnapshot, object: &Object, broken: &Broken) -> Result<()> {
    let Some((input, error)) = object.depends_on.iter().find_map(|id| broken.get_key_value(id)) else {
        return Ok(());
    };
    let name = catalog.object(*input).map_or_else(String::new, |o| o.name.clone());
    Err(Error::new(error.state(), format!("its input \"{name}\" could not be started: {error}")))
}

fn rebuild(
    catalog: &Arc<CatalogSnapshot>,
    object: &Object,
    fs: &Arc<dyn FileSystem>,
    recovered: &mut Recovered,
    broken: &Broken,
) -> Result<()> {
    let inputs = check_inputs(catalog, object, broken);
    match &object.kind {
        ObjectKind::Schema | ObjectKind::Sequence(_) => {}
        ObjectKind::Index(index) => {
            recovered.indexes.push(relation_index(catalog, object.id, &object.name, index)?);
        }
        ObjectKind::View(_) => inputs?,
        ObjectKind::Table(table) => {
            recovered.tables.push(table_spec(object.id, &object.name, table));
        }
        ObjectKind::Source(source) => {
            let built = weir_connector::create_source(&source.options, &source.columns)?;
            recovered.sources.push(source_spec(object.id, source, built));
        }
        ObjectKind::MaterializedView(view) => {
            recovered.jobs.push((decode_plan(&view.plan)?, inputs.map(|()| None)));
        }
        ObjectKind::Sink(sink) if sink.into_table().is_some() => {
            recovered.jobs.push((decode_plan(&sink.plan)?, inputs.map(|()| None)));
        }
        ObjectKind::Sink(sink) => {
            let build = || weir_connector::create_sink(&sink.options, &sink.columns, Arc::clone(fs));
            let built: Result<Arc<dyn Sink>> = inputs.and_then(|()| build());
            recovered.jobs.push((decode_plan(&sink.plan)?, built.map(Some)));
        }
    }
    Ok(())
}

/// A table as the runtime needs it.
pub fn table_spec(id: ObjectId, name: &str, table: &TableDef) -> TableSpec {
    TableSpec {
        id,
        schema: table.relation_schema(),
        name: name.to_owned(),
        key_name: table.key_constraint_name.clone(),
        time: table.watermark.as_ref().and_then(|watermark| Some(time_spec(watermark, table.time_column()?))),
    }
}

/// A source as the runtime needs it.
pub fn source_spec(id: ObjectId, def: &SourceDef, source: Arc<dyn Source>) -> SourceSpec {
    let column = |watermark: &WatermarkDef| def.columns.iter().position(|c| c.id == watermark.column);
    let time = def.watermark.as_ref().and_then(|watermark| Some(time_spec(watermark, column(watermark)?)));
    SourceSpec { id, source, time }
}

fn time_spec(watermark: &WatermarkDef, column: usize) -> TimeSpec {
    let length = |micros: i64| Duration::from_micros(micros.unsigned_abs());
    let group = watermark.alignment_group.clone().zip(watermark.max_drift_micros);
    TimeSpec {
        column,
        max_jump: watermark.max_jump_micros,
        idle_timeout: watermark.idle_timeout_micros.map(length),
        alignment: group.map(|(group, max_drift)| Alignment { group, max_drift }),
    }
}

/// The form of a job in the catalog.
pub fn encode_plan(graph: &JobGraph) -> Result<Vec<u8>> {
    postcard::to_stdvec(graph).map_err(Error::internal)
}

/// A job as the catalog holds it.
pub fn decode_plan(bytes: &[u8]) -> Result<JobGraph> {
    postcard::from_bytes(bytes).map_err(|e| Error::corrupted(format!("plan of a job in the catalog: {e}")))
}
