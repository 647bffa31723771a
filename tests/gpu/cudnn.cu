/* SPDX-License-Identifier: Apache-2.0 */
/* nvcc: -lcudnn */
/* cuDNN: what a small network's layers do, forwards and backwards. */
#include <algorithm>
#include <cmath>
#include <cudnn.h>
#include <vector>

#include "../nvcc/check.h"

#define DNN(call)                                                                                  \
    do {                                                                                           \
        cudnnStatus_t dnn_rc = (call);                                                             \
        if (dnn_rc != CUDNN_STATUS_SUCCESS) {                                                      \
            printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudnnGetErrorString(dnn_rc));     \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static cudnnHandle_t handle;
static const float one = 1, zero = 0;

struct tensor {
    int n, c, h, w;
    cudnnTensorDescriptor_t desc;
    std::vector<float> host;
    float *device;
    tensor(int n, int c, int h, int w) : n(n), c(c), h(h), w(w), host((size_t)n * c * h * w)
    {
        for (size_t i = 0; i < host.size(); i++)
            host[i] = (float)((int)(i * 7 % 11) - 5);
        DNN(cudnnCreateTensorDescriptor(&desc));
        DNN(cudnnSetTensor4dDescriptor(desc, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, n, c, h, w));
        CHECK(cudaMalloc(&device, host.size() * sizeof(float)));
        CHECK(cudaMemcpy(device, host.data(), host.size() * sizeof(float), cudaMemcpyHostToDevice));
    }
    ~tensor()
    {
        cudaFree(device);
        cudnnDestroyTensorDescriptor(desc);
    }
    float at(int in, int ic, int ih, int iw) const
    {
        bool there = ih >= 0 && ih < h && iw >= 0 && iw < w;
        return there ? host[(((size_t)in * c + ic) * h + ih) * w + iw] : 0;
    }
    /* How many of EXPECT's elements the device has not. */
    int differ(const std::vector<float> &expect) const
    {
        std::vector<float> got(host.size());
        int wrong = 0;
        CHECK(cudaMemcpy(got.data(), device, got.size() * sizeof(float), cudaMemcpyDeviceToHost));
        for (size_t i = 0; i < got.size(); i++)
            wrong += !(std::fabs(got[i] - expect[i]) <= 1e-4f * (1 + std::fabs(expect[i])));
        return wrong;
    }
};

static void activation()
{
    tensor x(1, 1, 1, 4096), y(1, 1, 1, 4096);
    std::vector<float> expect(x.host.size());
    cudnnActivationDescriptor_t relu;
    DNN(cudnnCreateActivationDescriptor(&relu));
    DNN(cudnnSetActivationDescriptor(relu, CUDNN_ACTIVATION_RELU, CUDNN_NOT_PROPAGATE_NAN, 0));
    DNN(cudnnActivationForward(handle, relu, &one, x.desc, x.device, &zero, y.desc, y.device));
    for (size_t i = 0; i < expect.size(); i++)
        expect[i] = std::max(x.host[i], 0.0f);
    printf("relu: %d wrong\n", y.differ(expect));
    DNN(cudnnDestroyActivationDescriptor(relu));
}

static void softmax()
{
    tensor x(8, 50, 1, 1), y(8, 50, 1, 1);
    std::vector<float> expect(x.host.size());
    DNN(cudnnSoftmaxForward(handle, CUDNN_SOFTMAX_ACCURATE, CUDNN_SOFTMAX_MODE_INSTANCE, &one,
                            x.desc, x.device, &zero, y.desc, y.device));
    for (int n = 0; n < x.n; n++) {
        float sum = 0;
        for (int c = 0; c < x.c; c++)
            sum += std::exp(x.at(n, c, 0, 0));
        for (int c = 0; c < x.c; c++)
            expect[n * x.c + c] = std::exp(x.at(n, c, 0, 0)) / sum;
    }
    printf("softmax: %d wrong\n", y.differ(expect));
}

static void pooling()
{
    tensor x(2, 3, 12, 10), y(2, 3, 6, 5);
    std::vector<float> expect(y.host.size());
    cudnnPoolingDescriptor_t pool;
    DNN(cudnnCreatePoolingDescriptor(&pool));
    DNN(cudnnSetPooling2dDescriptor(pool, CUDNN_POOLING_MAX, CUDNN_NOT_PROPAGATE_NAN, 2, 2, 0, 0, 2,
                                    2));
    DNN(cudnnPoolingForward(handle, pool, &one, x.desc, x.device, &zero, y.desc, y.device));
    for (int n = 0, i = 0; n < y.n; n++)
        for (int c = 0; c < y.c; c++)
            for (int h = 0; h < y.h; h++)
                for (int w = 0; w < y.w; w++)
                    expect[i++] = std::max(
                        std::max(x.at(n, c, 2 * h, 2 * w), x.at(n, c, 2 * h, 2 * w + 1)),
                        std::max(x.at(n, c, 2 * h + 1, 2 * w), x.at(n, c, 2 * h + 1, 2 * w + 1)));
    printf("max pooling: %d wrong\n", y.differ(expect));
    DNN(cudnnDestroyPoolingDescriptor(pool));
}

/* The convolution of X with 3 x 3 filters and a border of zeros. */
static std::vector<float> convolved(const tensor &x, const tensor &f)
{
    std::vector<float> y((size_t)x.n * f.n * x.h * x.w);
    size_t i = 0;
    for (int n = 0; n < x.n; n++)
        for (int k = 0; k < f.n; k++)
            for (int h = 0; h < x.h; h++)
                for (int w = 0; w < x.w; w++, i++)
                    for (int c = 0; c < x.c; c++)
                        for (int r = 0; r < 9; r++)
                            y[i] +=
                                x.at(n, c, h + r / 3 - 1, w + r % 3 - 1) * f.at(k, c, r / 3, r % 3);
    return y;
}

static void convolution()
{
    tensor x(2, 4, 9, 9), f(5, 4, 3, 3), y(2, 5, 9, 9), df(5, 4, 3, 3);
    cudnnFilterDescriptor_t filter;
    cudnnConvolutionDescriptor_t conv;
    size_t bytes, more;
    void *room;
    DNN(cudnnCreateFilterDescriptor(&filter));
    DNN(cudnnSetFilter4dDescriptor(filter, CUDNN_DATA_FLOAT, CUDNN_TENSOR_NCHW, f.n, f.c, 3, 3));
    DNN(cudnnCreateConvolutionDescriptor(&conv));
    DNN(cudnnSetConvolution2dDescriptor(conv, 1, 1, 1, 1, 1, 1, CUDNN_CROSS_CORRELATION,
                                        CUDNN_DATA_FLOAT));
    const cudnnConvolutionFwdAlgo_t forward = CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM;
    const cudnnConvolutionBwdFilterAlgo_t backward = CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0;
    DNN(cudnnGetConvolutionForwardWorkspaceSize(handle, x.desc, filter, conv, y.desc, forward,
                                                &bytes));
    DNN(cudnnGetConvolutionBackwardFilterWorkspaceSize(handle, x.desc, y.desc, conv, filter,
                                                       backward, &more));
    bytes = std::max(bytes, more);
    CHECK(cudaMalloc(&room, bytes + 1));
    DNN(cudnnConvolutionForward(handle, &one, x.desc, x.device, filter, f.device, conv, forward,
                                room, bytes, &zero, y.desc, y.device));
    printf("convolution: %d wrong\n", y.differ(convolved(x, f)));
    /* The filters' gradient of a loss whose own, by the output, is what Y began with. */
    CHECK(
        cudaMemcpy(y.device, y.host.data(), y.host.size() * sizeof(float), cudaMemcpyHostToDevice));
    DNN(cudnnConvolutionBackwardFilter(handle, &one, x.desc, x.device, y.desc, y.device, conv,
                                       backward, room, bytes, &zero, filter, df.device));
    std::vector<float> expect(df.host.size());
    for (int k = 0; k < f.n; k++)
        for (int c = 0; c < x.c; c++)
            for (int r = 0; r < 9; r++)
                for (int n = 0; n < x.n; n++)
                    for (int h = 0; h < x.h; h++)
                        for (int w = 0; w < x.w; w++)
                            expect[(k * x.c + c) * 9 + r] +=
                                x.at(n, c, h + r / 3 - 1, w + r % 3 - 1) * y.at(n, k, h, w);
    printf("its filters' gradient: %d wrong\n", df.differ(expect));
    CHECK(cudaFree(room));
    DNN(cudnnDestroyConvolutionDescriptor(conv));
    DNN(cudnnDestroyFilterDescriptor(filter));
}

int main()
{
    DNN(cudnnCreate(&handle));
    activation();
    softmax();
    pooling();
    convolution();
    DNN(cudnnDestroy(handle));
    return 0;
}
