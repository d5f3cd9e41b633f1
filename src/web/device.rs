//! The device of this build: the CPU, or the GPU that the browser gives.

use burn::tensor::Device;

use crate::Result;

#[cfg(not(feature = "webgpu"))]
pub async fn open() -> Result<Device> {
    Ok(Device::flex())
}

/// # Errors
/// [`Error::Unsupported`](crate::Error::Unsupported) if there is no adapter, or it gives no device.
#[cfg(feature = "webgpu")]
pub async fn open() -> Result<Device> {
    let options = Device::wgpu_options();
    options.init_async().await.map_err(|error| crate::Error::Unsupported(format!("WebGPU: {error:?}")))
}
