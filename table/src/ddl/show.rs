//! SHOW CREATE: the statement that would make an object again, in the home form of the dialect.

use weir_common::{Error, ObjectId, Result};

use crate::outcome::Outcome;
use crate::rows;
use crate::session::Session;

impl Session {
    /// One row: the object's name, the statement.
    pub(crate) fn show_create(&self, id: ObjectId) -> Result<Outcome> {
        let catalog = self.catalog();
        let object = catalog.object(id).ok_or_else(|| Error::internal(format!("no object {id}")))?;
        let schema = catalog.schema_name(object.schema).unwrap_or("public");
        let name = format!("{schema}.{}", object.name);
        let create = weir_catalog::home_form(&catalog, object);
        rows::text_rows(&rows::SHOW_CREATE, vec![vec![name, create]], "SHOW")
    }
}
