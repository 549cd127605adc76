#include "daemon/pipeline_progress.h"

#include <gtest/gtest.h>

#include <vector>

namespace sluice::daemon {
namespace {

config::Pipeline pipeline() {
    config::Pipeline pipeline;
    pipeline.reductions.resize(2);
    pipeline.reductions[0].time = config::TimeKind::event;
    pipeline.reductions[0].allowed_lateness_ms = 5;
    pipeline.reductions[1].time = config::TimeKind::processing;
    return pipeline;
}

WorkerProgress worker(std::uint32_t partition, model::EventTime watermark) {
    WorkerProgress progress;
    progress.partitions.resize(1);
    progress.partitions[0].partition = partition;
    progress.partitions[0].watermark = watermark;
    progress.open_windows = {0, 0};
    progress.first_end = {model::kAfterAll, model::kAfterAll};
    progress.last_end = {model::kBeforeAll, model::kBeforeAll};
    return progress;
}

class PipelineProgressTest : public testing::Test {
 protected:
    const config::Pipeline pipeline_ = pipeline();
    const std::vector<model::Partition> partitions_ = {{"clicks", 0}, {"clicks", 1}};
    PipelineProgress progress_{pipeline_, partitions_, {{100, 200}, {150}}, 2};
};

TEST_F(PipelineProgressTest, TheLeastWatermarkIsKnownWhenEveryOwnedPartitionHasReported) {
    EXPECT_EQ(progress_.least_watermark(), kNoTime);
    progress_.update({worker(0, 70)});
    EXPECT_EQ(progress_.least_watermark(), kNoTime) << "the other could be anywhere";
    progress_.update({worker(0, 70), worker(1, 60)});
    EXPECT_EQ(progress_.least_watermark(), 60);
    progress_.own(1);
    EXPECT_EQ(progress_.least_watermark(), kNoTime);
}

TEST_F(PipelineProgressTest, AWindowIsOverWithItsLatenessAndByItsOwnKindOfTime) {
    const auto over = [&](model::EventTime time) {
        return progress_.anything_over(progress_.time_view({}), time);
    };
    EXPECT_FALSE(over(104));
    EXPECT_TRUE(over(105));
    progress_.pass_event_time(105);
    EXPECT_FALSE(over(105));
    EXPECT_EQ(progress_.open_windows(0), 1u);
    EXPECT_EQ(progress_.open_windows(1), 1u) << "a tick is its time";
    progress_.pass_processing_time(150);
    EXPECT_EQ(progress_.open_windows(1), 0u);
    EXPECT_EQ(progress_.open_windows(0), 1u);
}

TEST_F(PipelineProgressTest, WindowsAreOpenInTheWorkersAndOutsideOfThem) {
    WorkerProgress first = worker(0, 70);
    first.first_end[0] = 90;
    first.last_end[0] = 300;
    first.open_windows[0] = 7;
    progress_.update({first, worker(1, 60)});
    progress_.hold(0, 80);
    const ingest::TimeView view = progress_.time_view({});
    EXPECT_EQ(view.open[0].first_end, 80);
    EXPECT_EQ(view.open[0].last_end, 300);
    EXPECT_EQ(view.open[1].first_end, 150);
    EXPECT_EQ(progress_.open_windows(0), 7u);
}

TEST_F(PipelineProgressTest, IdlenessOfAnEarlierRunHoldsOnceTheEndWasSeen) {
    WorkerProgress first = worker(0, 70);
    first.partitions[0].idle = true;
    progress_.update({first, worker(1, 60)});
    EXPECT_FALSE(progress_.time_view({}).partitions[0].idle);
    EXPECT_TRUE(progress_.time_view({partitions_[0]}).partitions[0].idle)
        << "told, not yet applied";
    first.partitions[0].end_seen = true;
    progress_.update({first, worker(1, 60)});
    EXPECT_TRUE(progress_.time_view({}).partitions[0].idle);
}

TEST_F(PipelineProgressTest, EverythingIsReadWhenEachPartitionWasAtItsEndOnce) {
    WorkerProgress first = worker(0, 70);
    WorkerProgress second = worker(1, 60);
    first.partitions[0].end_seen = true;
    progress_.update({first, second});
    EXPECT_FALSE(progress_.everything_read());
    second.until_end_reached = true;  // nothing more is wanted from it
    progress_.update({first, second});
    EXPECT_TRUE(progress_.everything_read());
    progress_.own(1);
    EXPECT_FALSE(progress_.everything_read()) << "one that was assigned has not reported";
}

TEST_F(PipelineProgressTest, TheEndIsReachedByAllWorkersTogether) {
    WorkerProgress first = worker(0, 70);
    WorkerProgress second = worker(1, 60);
    first.until_end_reached = true;
    progress_.update({first, second});
    EXPECT_FALSE(progress_.until_end_reached());
    second.until_end_reached = true;
    progress_.update({first, second});
    EXPECT_TRUE(progress_.until_end_reached());
}

}  // namespace
}  // namespace sluice::daemon
