//! PostgreSQL's overload resolution ("Operator/Function Type Resolution", `func_select_candidate` in
//! parse_func.c): exact match, castable candidates, most exact matches, preferred types, then guesses for
//! literals of unknown type.

use weir_common::types::NumericType;
use weir_common::{Error, Result, SqlState, SqlType};

use super::any_text;
use super::coerce::{Category, can_cast, category, common_numeric, is_preferred};
use super::registry::{Body, Overload, Param, element_of, overloads};
use super::{CastContext, CastKind, FunctionKind, ResolvedFunction, cast, numeric};

/// Chooses the function `name` for arguments of these types.
///
/// # Errors
/// 42883 when no overload fits, 42725 when several do.
pub fn resolve_function(name: &str, args: &[SqlType]) -> Result<ResolvedFunction> {
    resolve_call(name, args, &[])
}

/// As [`resolve_function`]; `constants` holds the value of each argument that is an integer literal (shorter is
/// fine), which decides the scale of `round(numeric, n)` and `trunc(numeric, n)`.
pub fn resolve_call(name: &str, args: &[SqlType], constants: &[Option<i64>]) -> Result<ResolvedFunction> {
    if let Some(resolved) = numeric::round_to_constant(name, args, constants) {
        return Ok(resolved);
    }
    match choose(overloads(name), args) {
        Choice::One(overload) => bind(overload, args),
        Choice::None => match cast_call(name, args) {
            Some(cast) => Ok(cast),
            None => Err(no_function(name, args)),
        },
        Choice::Many => Err(Error::new(
            SqlState::AMBIGUOUS_FUNCTION,
            format!("function {name}({}) is not unique", type_list(args)),
        )
        .with_hint("Could not choose a best candidate function. You might need to add explicit type casts.")),
    }
}

/// Chooses the operator for operands of these types; `left` is `None` for a prefix operator.
///
/// # Errors
/// 42883 when no overload fits, 42725 when several do.
pub fn resolve_operator(op: &str, left: Option<&SqlType>, right: &SqlType) -> Result<ResolvedFunction> {
    let op = if op == "!=" { "<>" } else { op };
    let args: Vec<SqlType> = left.into_iter().chain([right]).cloned().collect();
    let spelled = match left {
        Some(left) => format!("{} {op} {}", left.name(), right.name()),
        None => format!("{op} {}", right.name()),
    };
    match choose_operator(overloads(op), &args) {
        Choice::One(overload) => bind(overload, &args),
        Choice::None => {
            let hint = if left.is_some() {
                "No operator matches the given name and argument types. You might need to add explicit type casts."
            } else {
                "No operator matches the given name and argument type. You might need to add an explicit type cast."
            };
            Err(Error::new(SqlState::UNDEFINED_FUNCTION, format!("operator does not exist: {spelled}"))
                .with_hint(hint))
        }
        Choice::Many => {
            Err(Error::new(SqlState::AMBIGUOUS_FUNCTION, format!("operator is not unique: {spelled}"))
                .with_hint(
                    "Could not choose a best candidate operator. You might need to add explicit type casts.",
                ))
        }
    }
}

enum Choice<'a> {
    None,
    One(&'a Overload),
    Many,
}

/// An operand of unknown type is first assumed to have the type of the other.
fn choose_operator<'a>(candidates: &'a [Overload], args: &[SqlType]) -> Choice<'a> {
    if let [left, right] = args {
        let assumed = match (left, right) {
            (SqlType::Unknown, other) if *other != SqlType::Unknown => Some(other),
            (other, SqlType::Unknown) if *other != SqlType::Unknown => Some(other),
            _ => None,
        };
        if let Some(ty) = assumed {
            let same = [ty.clone(), ty.clone()];
            if let Some(exact) = candidates.iter().find(|c| is_exact(c, &same)) {
                return Choice::One(exact);
            }
        }
    }
    choose(candidates, args)
}

fn choose<'a>(candidates: &'a [Overload], args: &[SqlType]) -> Choice<'a> {
    if let Some(exact) = candidates.iter().find(|c| is_exact(c, args)) {
        return Choice::One(exact);
    }
    let viable: Vec<&Overload> = candidates.iter().filter(|c| accepts(c, args)).collect();
    let viable = keep_best(viable, |c| {
        count(c, args, |param, arg| *arg != SqlType::Unknown && matches_exactly(param, arg))
    });
    let viable = keep_best(viable, |c| {
        count(c, args, |param, arg| {
            *arg != SqlType::Unknown && (matches_exactly(param, arg) || prefers(param, category(arg)))
        })
    });
    match viable.as_slice() {
        [] => Choice::None,
        [one] => Choice::One(one),
        _ => choose_by_unknowns(viable, args),
    }
}

/// Steps 4.e and 4.f: literals of unknown type.
fn choose_by_unknowns<'a>(mut viable: Vec<&'a Overload>, args: &[SqlType]) -> Choice<'a> {
    let by_category = viable.clone();
    for (i, _) in args.iter().enumerate().filter(|(_, arg)| **arg == SqlType::Unknown) {
        let Some(wanted) = category_at(&viable, i) else {
            viable = by_category;
            return assume_known_type(viable, args);
        };
        viable.retain(|c| param_category(c.param(i)) == wanted);
        if viable.iter().any(|c| prefers(c.param(i), wanted)) {
            viable.retain(|c| prefers(c.param(i), wanted));
        }
    }
    if let [one] = viable.as_slice() {
        return Choice::One(one);
    }
    assume_known_type(if viable.is_empty() { by_category } else { viable }, args)
}

/// If all known arguments have one type, the unknown ones are assumed to have it too.
fn assume_known_type<'a>(viable: Vec<&'a Overload>, args: &[SqlType]) -> Choice<'a> {
    let mut known = args.iter().filter(|arg| **arg != SqlType::Unknown);
    if let Some(first) = known.next()
        && known.all(|ty| ty == first)
    {
        let assumed: Vec<SqlType> = args.iter().map(|_| first.clone()).collect();
        let fitting: Vec<&&Overload> = viable.iter().filter(|c| accepts(c, &assumed)).collect();
        if let [one] = fitting.as_slice() {
            return Choice::One(one);
        }
    }
    Choice::Many
}

/// The category to assume for an unknown literal at this position: string if any candidate takes one, else the
/// one that all share.
fn category_at(viable: &[&Overload], i: usize) -> Option<Category> {
    let mut categories = viable.iter().map(|c| param_category(c.param(i)));
    if categories.clone().any(|c| c == Category::String) {
        return Some(Category::String);
    }
    let first = categories.next()?;
    categories.all(|c| c == first).then_some(first)
}

impl Overload {
    fn param(&self, i: usize) -> &Param {
        &self.params[i.min(self.params.len() - 1)]
    }

    fn takes(&self, count: usize) -> bool {
        if self.variadic { count + 1 >= self.params.len() } else { count == self.params.len() }
    }
}

fn is_exact(overload: &Overload, args: &[SqlType]) -> bool {
    overload.takes(args.len())
        && args.iter().enumerate().all(|(i, arg)| {
            *arg != SqlType::Unknown && matches!(overload.param(i), Param::Is(ty) if ty.same_family(arg))
        })
}

fn matches_exactly(param: &Param, arg: &SqlType) -> bool {
    matches!(param, Param::Is(ty) if ty.same_family(arg))
}

fn prefers(param: &Param, wanted: Category) -> bool {
    matches!(param, Param::Is(ty) if is_preferred(ty) && category(ty) == wanted)
}

fn param_category(param: &Param) -> Category {
    match param {
        Param::Is(ty) => category(ty),
        Param::AnyArray => Category::Array,
        _ => Category::User,
    }
}

fn count(overload: &Overload, args: &[SqlType], test: impl Fn(&Param, &SqlType) -> bool) -> usize {
    args.iter().enumerate().filter(|(i, arg)| test(overload.param(*i), arg)).count()
}

fn keep_best(viable: Vec<&Overload>, score: impl Fn(&Overload) -> usize) -> Vec<&Overload> {
    let best = viable.iter().map(|c| score(c)).max().unwrap_or(0);
    viable.into_iter().filter(|c| score(c) == best).collect()
}

/// Whether every argument can become its parameter implicitly.
fn accepts(overload: &Overload, args: &[SqlType]) -> bool {
    if !overload.takes(args.len()) {
        return false;
    }
    let fits = args.iter().enumerate().all(|(i, arg)| match overload.param(i) {
        Param::Is(ty) => can_cast(arg, ty, CastContext::Implicit),
        Param::AnyArray => *arg == SqlType::Unknown || category(arg) == Category::Array,
        Param::AnyNonArray => category(arg) != Category::Array,
        Param::Any | Param::AnyElement => true,
    });
    fits && (!is_polymorphic(overload) || element_type(overload, args).is_some())
}

fn is_polymorphic(overload: &Overload) -> bool {
    overload.params.iter().any(|p| matches!(p, Param::AnyElement | Param::AnyArray))
}

/// The type that `AnyElement` stands for in this call.
fn element_type(overload: &Overload, args: &[SqlType]) -> Option<SqlType> {
    let known: Vec<SqlType> = args
        .iter()
        .enumerate()
        .filter(|(_, arg)| **arg != SqlType::Unknown)
        .filter_map(|(i, arg)| match overload.param(i) {
            Param::AnyElement => Some(arg.clone()),
            Param::AnyArray => Some(element_of(arg)),
            _ => None,
        })
        .collect();
    if known.is_empty() {
        // Only literals: text, unless an array is asked for.
        let array = overload.params.contains(&Param::AnyArray);
        return (!array).then_some(SqlType::Text);
    }
    super::coerce::common_type(&known, "ARRAY").ok()
}

/// Fixes argument and result types of the chosen overload.
fn bind(overload: &Overload, args: &[SqlType]) -> Result<ResolvedFunction> {
    let element = if is_polymorphic(overload) { element_type(overload, args) } else { None };
    let mut arg_types: Vec<SqlType> = args
        .iter()
        .enumerate()
        .map(|(i, arg)| {
            let cast = overload.cast_to.as_ref().and_then(|types| types.get(i));
            match (cast, overload.param(i)) {
                (Some(ty), _) | (None, Param::Is(ty)) => target(arg, ty),
                (None, Param::AnyElement) => element.clone().unwrap_or(SqlType::Text),
                (None, Param::AnyArray) => SqlType::Array(Box::new(element.clone().unwrap_or(SqlType::Text))),
                (None, _) if *arg == SqlType::Unknown => SqlType::Text,
                (None, _) => arg.clone(),
            }
        })
        .collect();
    if overload.same_scale {
        bring_to_one_scale(&mut arg_types);
    }
    let result = overload.returns.sql(&arg_types);
    let kind = match &overload.body {
        Body::Udf(udf) if overload.all_text && any_text::needs_variant(udf.name(), &arg_types) => {
            let variant = any_text::variant(udf.name(), &arg_types);
            FunctionKind::Udf(variant.ok_or_else(|| Error::internal(format!("{} of any type", udf.name())))?)
        }
        Body::Udf(udf) => FunctionKind::Udf(udf.clone()),
        Body::Native(operator) => FunctionKind::Native(*operator),
    };
    Ok(ResolvedFunction { kind, arg_types, result, strict: overload.strict, volatile: overload.volatile })
}

/// The exact type an argument is cast to for a parameter: modifiers are the argument's own.
fn target(arg: &SqlType, param: &SqlType) -> SqlType {
    match (param, arg) {
        (param, arg) if param.same_family(arg) => arg.clone(),
        (SqlType::Numeric(_), arg) if arg.is_integer() => SqlType::Numeric(NumericType::fixed(38, 0)),
        (param, _) => param.clone(),
    }
}

fn bring_to_one_scale(types: &mut [SqlType]) {
    let numerics: Vec<NumericType> = types
        .iter()
        .filter_map(|ty| match ty {
            SqlType::Numeric(numeric) => Some(*numeric),
            _ => None,
        })
        .collect();
    let common = common_numeric(&numerics);
    for ty in types.iter_mut() {
        if let SqlType::Numeric(numeric) = ty
            && numeric.scale != common.scale
        {
            *ty = SqlType::Numeric(common);
        }
    }
}

/// `date(x)`, `text(x)`: a type name called as a function is a cast.
fn cast_call(name: &str, args: &[SqlType]) -> Option<ResolvedFunction> {
    let [arg] = args else { return None };
    let to = super::type_code::parse(name)?;
    match cast::resolve_cast(arg, &to, CastContext::Explicit).ok()?? {
        CastKind::Udf(udf) => Some(ResolvedFunction {
            kind: FunctionKind::Udf(udf),
            arg_types: vec![arg.clone()],
            result: to,
            strict: true,
            volatile: false,
        }),
        CastKind::NoOp | CastKind::Arrow => Some(ResolvedFunction {
            kind: FunctionKind::Udf(cast::identity(&to)),
            arg_types: vec![to.clone()],
            result: to,
            strict: true,
            volatile: false,
        }),
    }
}

fn no_function(name: &str, args: &[SqlType]) -> Error {
    Error::new(SqlState::UNDEFINED_FUNCTION, format!("function {name}({}) does not exist", type_list(args)))
        .with_hint("No function matches the given name and argument types. You might need to add explicit type casts.")
}

fn type_list(args: &[SqlType]) -> String {
    args.iter().map(SqlType::name).collect::<Vec<_>>().join(", ")
}
