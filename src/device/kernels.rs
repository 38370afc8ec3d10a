//! The kernel sources in the binary, and the parameters that each kernel declares.
//!
//! One file per operation in `kernels/`, plus `common.cuh`, which comes before each of them. A
//! kernel is `extern "C" __global__ void name(parameters)`, perhaps with `__launch_bounds__` before
//! `void`, its parameters `const real *`, `real *`, `const int *`, `int *` (each may be
//! `__restrict__`), `int` and `real`.

/// One file of `kernels/`.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Its name without `.cu`.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// Type of a kernel's parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// `const real *`
    RealIn,
    /// `real *`
    RealOut,
    /// `const int *`
    IntIn,
    /// `int *`
    IntOut,
    /// `int`
    Int,
    /// `real`
    Real,
}

/// A kernel's name and parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Name.
    pub name: String,
    /// Parameters in order.
    pub parameters: Vec<Parameter>,
}

/// The kernels that `text` declares, or what of a declaration is not understood.
pub fn signatures(text: &str) -> std::result::Result<Vec<Signature>, String> {
    let mut found = Vec::new();
    for rest in text.split("extern \"C\" __global__").skip(1) {
        let declaration = rest.split_once('{').map_or(rest, |(head, _)| head);
        let (head, parameters) = declaration
            .split_once("void ")
            .and_then(|(_, d)| d.split_once('('))
            .ok_or_else(|| format!("not a kernel declaration: {declaration}"))?;
        let (parameters, _) = parameters
            .rsplit_once(')')
            .ok_or_else(|| format!("no closing parenthesis: {declaration}"))?;
        found.push(Signature {
            name: head.trim().to_string(),
            parameters: parameters
                .split(',')
                .map(parameter)
                .collect::<Result<_, _>>()?,
        });
    }
    Ok(found)
}

fn parameter(text: &str) -> std::result::Result<Parameter, String> {
    let spaced = text.replace('*', " * ").replace("__restrict__", " ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    match words[..] {
        ["const", "real", "*", _] => Ok(Parameter::RealIn),
        ["real", "*", _] => Ok(Parameter::RealOut),
        ["const", "int", "*", _] => Ok(Parameter::IntIn),
        ["int", "*", _] => Ok(Parameter::IntOut),
        ["int", _] => Ok(Parameter::Int),
        ["real", _] => Ok(Parameter::Real),
        _ => Err(format!(
            "not a parameter that launches know: {}",
            text.trim()
        )),
    }
}
