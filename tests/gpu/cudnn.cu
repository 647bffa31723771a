/* SPDX-License-Identifier: Apache-2.0 */
/* nvcc: -lcudnn */
/* An activation. */
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

int main()
{
    const int n = 4096;
    std::vector<float> x(n), y(n);
    float *dx, *dy, one = 1, zero = 0;
    cudnnHandle_t handle;
    cudnnTensorDescriptor_t tensor;
    cudnnActivationDescriptor_t relu;
    for (int i = 0; i < n; i++)
        x[i] = (float)(i % 11 - 5);
    DNN(cudnnCreate(&handle));
    CHECK(cudaMalloc(&dx, n * sizeof(float)));
    CHECK(cudaMalloc(&dy, n * sizeof(float)));
    CHECK(cudaMemcpy(dx, x.data(), n * sizeof(float), cudaMemcpyHostToDevice));
    DNN(cudnnCreateTensorDescriptor(&tensor));
    DNN(cudnnSetTensor4dDescriptor(tensor, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, 1, 1, 1, n));
    DNN(cudnnCreateActivationDescriptor(&relu));
    DNN(cudnnSetActivationDescriptor(relu, CUDNN_ACTIVATION_RELU, CUDNN_NOT_PROPAGATE_NAN, 0));
    DNN(cudnnActivationForward(handle, relu, &one, tensor, dx, &zero, tensor, dy));
    CHECK(cudaMemcpy(y.data(), dy, n * sizeof(float), cudaMemcpyDeviceToHost));
    int wrong = 0;
    for (int i = 0; i < n; i++)
        wrong += y[i] != (x[i] > 0 ? x[i] : 0);
    printf("relu: %d wrong\n", wrong);
    DNN(cudnnDestroy(handle));
    CHECK(cudaFree(dx));
    CHECK(cudaFree(dy));
    return wrong != 0;
}
