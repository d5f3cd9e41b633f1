//! The device of this build: the CPU, or the GPU that the browser gives.

use burn::tensor::Device;

use crate::Result;

/// The device, and the GPU's name.
#[cfg(not(feature = "webgpu"))]
pub async fn open() -> Result<(Device, Option<String>)> {
    Ok((Device::flex(), None))
}

/// The device, and the GPU's name.
#[cfg(feature = "webgpu")]
pub async fn open() -> Result<(Device, Option<String>)> {
    use crate::Error;

    let (device, setup) = Device::wgpu_options()
        .init_with_setup_async()
        .await
        .map_err(|error| Error::Unsupported(format!("WebGPU: {error:?}")))?;
    let info = setup.adapter.get_info();
    let name = [info.name, info.driver].into_iter().find(|text| !text.is_empty());
    Ok((device, name))
}
