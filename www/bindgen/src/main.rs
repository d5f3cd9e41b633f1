//! The glue between the compiled core and JavaScript: `rsafe-bindgen COMPILED.wasm FOLDER NAME` writes `NAME.js` and
//! `NAME_bg.wasm`. The library alone, since the command line of wasm-bindgen brings a server for tests along.

use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [compiled, folder, name] = arguments.as_slice() else {
        eprintln!("expected COMPILED.wasm FOLDER NAME but got {} arguments", arguments.len());
        return ExitCode::from(2);
    };
    let mut bindgen = Bindgen::new();
    bindgen.input_path(compiled).out_name(name).reset_state_function(true);
    match bindgen.web(true).and_then(|bindgen| bindgen.generate(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{compiled}: {error:?}");
            ExitCode::FAILURE
        }
    }
}
