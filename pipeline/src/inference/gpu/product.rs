//! Matrix products by cuBLASLt, with bias, ReLU and sum in them: `to = relu(rows · weightsᵀ + bias + to)`.
//!
//! All three matrices are row-major. cuBLASLt counts columns first, so to it they are transposed, and their order is the other.

use super::fault::Fault;
use super::numbers::Numbers;
use cudarc::cublaslt::{result, sys};
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr as _, DevicePtrMut as _};
use std::ffi::c_void;
use std::sync::Arc;

/// Memory that a product may use for sums of its parts: what NVIDIA recommends for Hopper.
const WORKSPACE: usize = 32 << 20;

/// A product, but for its tensors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) numbers: Numbers,
    /// Rows of `rows` and `to`.
    pub(super) positions: usize,
    /// Rows of `weights`, columns of `to`.
    pub(super) outputs: usize,
    /// Columns of `rows` and `weights`.
    pub(super) depth: usize,
    /// Adds what `to` holds.
    pub(super) add: bool,
    pub(super) relu: bool,
}

/// cuBLASLt for one stream.
#[derive(Debug)]
pub(super) struct Products {
    handle: sys::cublasLtHandle_t,
    workspace: CudaSlice<u8>,
    stream: Arc<CudaStream>,
}

// SAFETY: cuBLASLt's handle may be used from any thread.
unsafe impl Send for Products {}

impl Products {
    pub(super) fn new(stream: &Arc<CudaStream>) -> Result<Self, Fault> {
        let workspace = stream.alloc_zeros(WORKSPACE).map_err(Fault::driver("allocating"))?;
        let handle = result::create_handle().map_err(Fault::blas("starting"))?;
        Ok(Self { handle, workspace, stream: Arc::clone(stream) })
    }

    /// Chooses how to compute products of this shape, with this bias: `[outputs]`, which has to live as long as the product.
    pub(super) fn prepare(&self, shape: Shape, bias: &CudaSlice<u8>) -> Result<Product, Fault> {
        let number = |value: usize| u64::try_from(value).map_err(|_| Fault::Size(value));
        let (positions, outputs, depth) =
            (number(shape.positions)?, number(shape.outputs)?, number(shape.depth)?);
        let failed = Fault::blas("preparing a product");
        let kind = match shape.numbers {
            Numbers::F32 => sys::cudaDataType_t::CUDA_R_32F,
            Numbers::Bf16 => sys::cudaDataType_t::CUDA_R_16BF,
        };
        let operation = Operation::new(shape, bias.device_ptr(&self.stream).0).map_err(&failed)?;
        let weights = Layout::new(kind, depth, outputs).map_err(&failed)?;
        let rows = Layout::new(kind, depth, positions).map_err(&failed)?;
        let to = Layout::new(kind, outputs, positions).map_err(&failed)?;
        let wish = Wish::new(self.workspace.len()).map_err(&failed)?;
        // SAFETY: all of them were just made and live until the end of this function.
        let found = unsafe {
            result::get_matmul_algo_heuristic(self.handle, operation.0, weights.0, rows.0, to.0, to.0, wish.0)
        };
        Ok(Product { shape, operation, weights, rows, to, algorithm: found.map_err(&failed)?.algo })
    }

    /// Starts the product: `rows` is `[positions, depth]`, `weights` `[outputs, depth]` and `to` `[positions, outputs]`, each in
    /// the product's numbers; `rows` and `to` may be longer.
    pub(super) fn start(
        &mut self,
        product: &Product,
        weights: &CudaSlice<u8>,
        rows: &CudaSlice<u8>,
        to: &mut CudaSlice<u8>,
    ) -> Result<(), Fault> {
        let Shape { numbers, positions, outputs, depth, add, .. } = product.shape;
        Fault::check_room(&[
            (weights.len(), outputs * depth * numbers.bytes()),
            (rows.len(), positions * depth * numbers.bytes()),
            (to.len(), positions * outputs * numbers.bytes()),
        ])?;
        let (one, beta) = (1.0_f32, if add { 1.0_f32 } else { 0.0 });
        let (weights, _weights) = weights.device_ptr(&self.stream);
        let (rows, _rows) = rows.device_ptr(&self.stream);
        let (to, _to) = to.device_ptr_mut(&self.stream);
        let length = self.workspace.len();
        let (workspace, _workspace) = self.workspace.device_ptr_mut(&self.stream);
        // SAFETY: the matrices are as long as the layouts say, as was checked, and the product was prepared by this handle. What
        // it writes nobody else touches: it is borrowed, and the stream does one thing after the other.
        let started = unsafe {
            result::matmul(
                self.handle,
                product.operation.0,
                (&raw const one).cast(),
                (&raw const beta).cast(),
                weights as *const c_void,
                product.weights.0,
                rows as *const c_void,
                product.rows.0,
                to as *const c_void,
                product.to.0,
                to as *mut c_void,
                product.to.0,
                &raw const product.algorithm,
                workspace as *mut c_void,
                length,
                self.stream.cu_stream().cast(),
            )
        };
        started.map_err(Fault::blas("multiplying"))
    }
}

impl Drop for Products {
    fn drop(&mut self) {
        let bound = self.stream.context().bind_to_thread();
        // SAFETY: made by `new` and destroyed nowhere else.
        let ended = unsafe { result::destroy_handle(self.handle) };
        if let (Ok(()), Err(error)) = (bound, ended) {
            tracing::warn!(%error, "cuBLASLt could not be ended");
        }
    }
}

/// A product of one shape, prepared.
#[derive(Debug)]
pub(super) struct Product {
    shape: Shape,
    operation: Operation,
    weights: Layout,
    rows: Layout,
    to: Layout,
    algorithm: sys::cublasLtMatmulAlgo_t,
}

// SAFETY: descriptions in the host's memory, which belong to no thread.
unsafe impl Send for Product {}

/// What is multiplied, and what follows it.
#[derive(Debug)]
struct Operation(sys::cublasLtMatmulDesc_t);

impl Operation {
    fn new(shape: Shape, bias: u64) -> Result<Self, result::CublasError> {
        use sys::cublasLtMatmulDescAttributes_t as Attribute;
        // In f32 no product is rounded to fewer bits, so that the logits are the reference's.
        let compute = sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
        let this = Self(result::create_matmul_desc(compute, sys::cudaDataType_t::CUDA_R_32F)?);
        this.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &1_i32)?;
        let epilogue = if shape.relu {
            sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_RELU_BIAS
        } else {
            sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS
        };
        this.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue)?;
        this.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias)?;
        Ok(this)
    }

    fn set<T>(
        &self,
        attribute: sys::cublasLtMatmulDescAttributes_t,
        value: &T,
    ) -> Result<(), result::CublasError> {
        // SAFETY: the description lives, and the value is read before the call ends.
        unsafe {
            result::set_matmul_desc_attribute(self.0, attribute, (&raw const *value).cast(), size_of::<T>())
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        // SAFETY: made by `new` and destroyed nowhere else. There is nothing to be done about a failure.
        let _ = unsafe { result::destroy_matmul_desc(self.0) };
    }
}

/// A matrix, columns first and without gaps.
#[derive(Debug)]
struct Layout(sys::cublasLtMatrixLayout_t);

impl Layout {
    fn new(kind: sys::cudaDataType, rows: u64, columns: u64) -> Result<Self, result::CublasError> {
        result::create_matrix_layout(kind, rows, columns, rows.cast_signed()).map(Self)
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        // SAFETY: made by `new` and destroyed nowhere else. There is nothing to be done about a failure.
        let _ = unsafe { result::destroy_matrix_layout(self.0) };
    }
}

/// What the choice of an algorithm has to respect.
#[derive(Debug)]
struct Wish(sys::cublasLtMatmulPreference_t);

impl Wish {
    fn new(workspace: usize) -> Result<Self, result::CublasError> {
        let this = Self(result::create_matmul_pref()?);
        let attribute = sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
        // SAFETY: the wish lives, and the number is read before the call ends.
        unsafe {
            result::set_matmul_pref_attribute(
                this.0,
                attribute,
                (&raw const workspace).cast(),
                size_of::<usize>(),
            )
        }?;
        Ok(this)
    }
}

impl Drop for Wish {
    fn drop(&mut self) {
        // SAFETY: made by `new` and destroyed nowhere else. There is nothing to be done about a failure.
        let _ = unsafe { result::destroy_matmul_pref(self.0) };
    }
}
