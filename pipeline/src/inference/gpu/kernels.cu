// What the model does on a GPU between its matrix products. Activations are channels-last: [images, height, width, channels],
// in f32 or in bf16, which is the upper half of an f32. Compiled when a model is loaded, without any header.

typedef unsigned short bf16;

// The positions of a window on its input, and how much of it one launch computes.
struct Window {
    // Threads that have something to do.
    unsigned total;
    // Rows and columns of the input and of the output.
    int height, width, out_height, out_width;
    // Edge of the window, its step, and the border of zeros around the input.
    int kernel, stride, padding;
    // What one position holds: values, or 16-byte vectors of them.
    int depth;
};

__device__ inline float widen(float value) { return value; }
__device__ inline float widen(bf16 value) { return __uint_as_float((unsigned)value << 16); }

__device__ inline void narrow(float value, float* to) { *to = value; }
// To the nearest, of two equally near ones to the even one. There are no NaNs to keep: weights and pixels are finite.
__device__ inline void narrow(float value, bf16* to) {
    unsigned bits = __float_as_uint(value);
    *to = (bf16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// The patches of an image of bytes, normalised: row `position` holds the window's kernel * kernel * 3 values, then zeros up to
// `depth`. `table` has 256 values for each of the three channels. A thread for each value.
template <typename T>
__device__ inline void pixels(const unsigned char* x, const float* table, T* out, const Window& w) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= w.total) return;
    int column = i % w.depth;
    unsigned position = i / w.depth;
    int ox = position % w.out_width;
    position /= w.out_width;
    int oy = position % w.out_height;
    unsigned image = position / w.out_height;
    int channel = column % 3, tap = column / 3;
    int y = oy * w.stride - w.padding + tap / w.kernel, x_ = ox * w.stride - w.padding + tap % w.kernel;
    bool inside = tap < w.kernel * w.kernel && y >= 0 && y < w.height && x_ >= 0 && x_ < w.width;
    float value = 0.0f;
    if (inside) {
        value = table[channel * 256 + x[((image * (size_t)w.height + y) * w.width + x_) * 3 + channel]];
    }
    narrow(value, out + i);
}

extern "C" __global__ void pixels_f32(const unsigned char* x, const float* table, float* out, Window w) {
    pixels(x, table, out, w);
}
extern "C" __global__ void pixels_bf16(const unsigned char* x, const float* table, bf16* out, Window w) {
    pixels(x, table, out, w);
}

// The patches of an activation: row `position` holds kernel * kernel * depth vectors. A thread for each vector of a position
// copies it for all of the window's taps, so that neighbours read and write neighbouring memory.
extern "C" __global__ void patches(const uint4* __restrict__ x, uint4* __restrict__ out, Window w) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= w.total) return;
    int vector = i % w.depth;
    unsigned position = i / w.depth;
    int ox = position % w.out_width;
    unsigned rest = position / w.out_width;
    int oy = rest % w.out_height;
    size_t image = rest / w.out_height;
    out += (size_t)position * w.kernel * w.kernel * w.depth + vector;
    for (int ky = 0; ky < w.kernel; ++ky) {
        int y = oy * w.stride - w.padding + ky;
        bool row = y >= 0 && y < w.height;
        const uint4* from = x + (image * w.height + y) * w.width * w.depth + vector;
#pragma unroll 3
        for (int kx = 0; kx < w.kernel; ++kx) {
            int x_ = ox * w.stride - w.padding + kx;
            uint4 value = {0, 0, 0, 0};
            if (row && x_ >= 0 && x_ < w.width) value = from[(size_t)x_ * w.depth];
            *out = value;
            out += w.depth;
        }
    }
}

// The largest value of each window; what lies outside does not count. A thread for each value.
template <typename T>
__device__ inline void largest(const T* x, T* out, const Window& w) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= w.total) return;
    int channel = i % w.depth;
    unsigned position = i / w.depth;
    int ox = position % w.out_width;
    position /= w.out_width;
    int oy = position % w.out_height;
    size_t image = position / w.out_height;
    float best = -3.0e38f;
    for (int ky = 0; ky < w.kernel; ++ky) {
        for (int kx = 0; kx < w.kernel; ++kx) {
            int y = oy * w.stride - w.padding + ky, x_ = ox * w.stride - w.padding + kx;
            if (y < 0 || y >= w.height || x_ < 0 || x_ >= w.width) continue;
            best = fmaxf(best, widen(x[((image * w.height + y) * w.width + x_) * w.depth + channel]));
        }
    }
    narrow(best, out + i);
}

extern "C" __global__ void largest_f32(const float* x, float* out, Window w) { largest(x, out, w); }
extern "C" __global__ void largest_bf16(const bf16* x, bf16* out, Window w) { largest(x, out, w); }

// The mean over all positions of each image: [images, height * width, depth] to f32 [images, depth]. A thread for each mean.
template <typename T>
__device__ inline void mean(const T* x, float* out, const Window& w) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= w.total) return;
    int channel = i % w.depth, positions = w.height * w.width;
    const T* from = x + (size_t)(i / w.depth) * positions * w.depth + channel;
    float sum = 0.0f;
    for (int position = 0; position < positions; ++position) sum += widen(from[(size_t)position * w.depth]);
    out[i] = sum / positions;
}

extern "C" __global__ void mean_f32(const float* x, float* out, Window w) { mean(x, out, w); }
extern "C" __global__ void mean_bf16(const bf16* x, float* out, Window w) { mean(x, out, w); }

// The classifier: [images, depth] times [classes, depth], plus [classes]; `out_width` is the number of classes. A thread for each
// logit.
extern "C" __global__ void logits(const float* means, const float* rows, const float* bias, float* out, Window w) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= w.total) return;
    int type = i % w.out_width;
    const float* mean = means + (size_t)(i / w.out_width) * w.depth;
    const float* row = rows + (size_t)type * w.depth;
    float sum = bias[type];
    for (int channel = 0; channel < w.depth; ++channel) sum += mean[channel] * row[channel];
    out[i] = sum;
}
